"""Repeated work: the same results as the work itself. A stand-in for CUDA's graphs runs the work anew each time."""

import pytest
import torch
from conftest import prepare, same_tensors, shape_data, tiny_config
from torch.utils import _pytree as pytree

from rcnn.methods.graphs import Graphed
from rcnn.structures import Proposals
from rcnn.training.loop import Trainer


@pytest.fixture
def captured():
    """How often each piece of work was captured and repeated; and what captures."""
    counts = {"captured": 0, "replayed": 0}

    def capture(work):
        outputs = work()  # as a warm-up leaves its traces
        counts["captured"] += 1

        def replay():
            counts["replayed"] += 1
            for own, new in zip(pytree.tree_leaves(outputs), pytree.tree_leaves(work()), strict=True):
                own.copy_(new)

        return replay, outputs

    return counts, capture


def proposals(count, seed):
    chance = torch.Generator().manual_seed(seed)
    valid = torch.ones(1, count, dtype=torch.bool)
    return Proposals(torch.rand(1, count, 4, generator=chance), torch.rand(1, count, generator=chance), valid)


def test_each_set_of_shapes_is_captured_once_and_gives_its_own_results(captured):
    counts, capture = captured
    graphed = Graphed(lambda one: {"sum": one.boxes.sum(), "boxes": 2 * one.boxes}, capture)
    inputs = [proposals(count, seed) for seed, count in enumerate((3, 5, 3, 5, 3))]
    results = [graphed(one) for one in inputs]
    for one, result in zip(inputs, results, strict=True):
        assert torch.equal(result["boxes"], 2 * one.boxes), "an earlier result is not written over"
        assert result["sum"] == one.boxes.sum()
    assert counts == {"captured": 2, "replayed": 5}


def test_another_type_or_layout_is_another_graph(captured):
    counts, capture = captured
    graphed = Graphed(lambda x: x + 1, capture)
    for x in (torch.rand(2, 3), torch.rand(2, 3).double(), torch.rand(3, 2).T):
        assert torch.equal(graphed(x), x + 1)
    assert counts["captured"] == 3


def test_beyond_the_most_graphs_the_work_runs_as_it_is(captured):
    counts, capture = captured
    graphed = Graphed(lambda x: x.square(), capture, most=2)
    for count in (1, 2, 3, 4, 1):
        assert torch.equal(graphed(torch.ones(count)), torch.ones(count))
    assert counts == {"captured": 2, "replayed": 3}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_by_graphs_learns_the_same_weights(captured, monkeypatch, tmp_path, accumulate):
    counts, capture = captured
    config = tiny_config(epochs=2, accumulate=accumulate, batch=1)
    prepare(shape_data(5), tmp_path / "plain", config).training.run()
    monkeypatch.setattr("rcnn.training.loop.CUDACapture", lambda: capture)
    plain = Trainer.__post_init__
    monkeypatch.setattr(Trainer, "__post_init__", lambda self: (setattr(self, "graphs", True), plain(self))[1])
    prepare(shape_data(5), tmp_path / "graphed", config).training.run()
    assert counts["replayed"] == 10
    assert 1 <= counts["captured"] <= 3
    assert same_tensors(tmp_path / "plain" / "model.safetensors", tmp_path / "graphed" / "model.safetensors")
