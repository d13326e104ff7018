"""Work in threads."""

from threading import get_ident

import pytest

from rcnn.threads import each, together


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
