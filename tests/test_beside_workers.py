"""Cores shared between the network and the processes that prepare its pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import COLOURS, Silent, prepare, shape_data, shape_sample, tiny_config

from rcnn.data.loader import Batches
from rcnn.data.preprocess import Preprocess
from rcnn.training.cores import beside_workers


@pytest.fixture
def four_cores(monkeypatch):
    """A machine of four cores on which torch would use them all, and a user who said nothing."""
    monkeypatch.setattr("rcnn.training.cores.cores", lambda: 4)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("workers", "threads"), [(0, 4), (1, 3), (3, 1), (8, 1)])
@pytest.mark.usefixtures("four_cores")
def test_the_network_leaves_a_core_to_each_worker_and_takes_it_back(caplog, workers, threads):
    with caplog.at_level("INFO", "rcnn"), beside_workers(workers, torch.device("cpu")):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 4
    said = [record.message for record in caplog.records]
    wanted = [f"the network computes with {threads} of 4 threads, beside {workers} workers of one each"]
    assert said == (wanted if workers else [])


@pytest.mark.usefixtures("four_cores")
def test_who_chose_his_threads_keeps_them(monkeypatch):
    torch.set_num_threads(2)
    with beside_workers(2, torch.device("cpu")):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with beside_workers(2, torch.device("cpu")):
        assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_cores")
def test_training_runs_with_the_cores_that_its_workers_leave(tmp_path):
    class Listener(Silent):
        def stepped(self, progress, lr):
            threads.append(torch.get_num_threads())

    threads = []
    config = tiny_config(epochs=1, workers=1)
    prepare(shape_data(2, 0), tmp_path / "run", config, Listener(), val_split="none").training.run()
    assert set(threads) == {3}
    assert torch.get_num_threads() == 4


def threads_of_this_process():
    """A picture whose pixels say how many threads its worker computes with."""
    return np.full((64, 64, 3), torch.get_num_threads(), np.uint8)


def test_workers_compute_with_one_thread():
    sample = replace(shape_sample("a"), picture=threads_of_this_process)
    plain = Preprocess(64, 64, mean=(0, 0, 0), std=(1 / 255,) * 3)
    (item,) = Batches([sample], tuple(COLOURS), plain, 1, workers=1).epoch(1)
    assert item.batch.images[0, 0, 0, 0] == pytest.approx(1, abs=1e-4)
