"""Compiled kernels where nothing can be kept, and work in threads."""

from threading import get_ident

import numba
import numpy as np
import pytest

from rcnn.compiled import compiled, each, together


def double(values):
    for n in range(len(values)):
        values[n] *= 2


def test_kernels_compile_where_no_folder_can_be_written_to(monkeypatch):
    true = numba.njit

    def refusing(*functions, cache=False, **settings):
        if cache:
            raise RuntimeError("cannot cache function 'double': no locator available")
        return true(*functions, **settings)

    monkeypatch.setattr(numba, "njit", refusing)
    values = np.arange(3.0)
    compiled(double)(values)
    assert values.tolist() == [0, 2, 4]


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_each_thing_is_worked_on_and_results_keep_their_order(threads):
    assert each(lambda n: n * n, [3, 1, 2], threads) == [9, 1, 4]
    assert each(lambda n: n, [], threads) == []
    done = [0] * threads
    together(lambda part: done.__setitem__(part, part + 1), threads)
    assert done == list(range(1, threads + 1))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_is_the_callers(threads):
    with pytest.raises(ZeroDivisionError):
        each(lambda n: 1 // n, [1, 0, 2], threads)


def test_one_thing_is_worked_on_in_the_thread_that_asks():
    assert each(lambda _: get_ident(), ["alone"], 4) == [get_ident()]
