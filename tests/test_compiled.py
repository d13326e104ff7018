"""Compiled kernels where nothing can be kept."""

import numba
import numpy as np

from rcnn.compiled import compiled


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
