"""Repeated work: the same results as the work itself. A stand-in for CUDA's graphs runs the work anew each time."""

from dataclasses import replace

import pytest
import torch
from conftest import prepare, same_tensors, shape_data, shape_sample, tiny_config
from safetensors.torch import load_file
from torch.utils import _pytree as pytree

from rcnn import api
from rcnn.acceleration.graphs import CUDACapture, Graphed
from rcnn.presets.overrides import override
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


def test_what_cannot_be_captured_runs_as_it_is_and_is_not_tried_again(caplog):
    tried = []

    def capture(work):
        tried.append(work())
        raise RuntimeError("out of memory\nwith details")

    graphed = Graphed(lambda x: x + 1, capture)
    for _ in range(3):
        assert torch.equal(graphed(torch.zeros(2)), torch.ones(2))
    assert len(tried) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "no further CUDA graph, for shapes like (2,): out of memory"
    ]
    assert torch.equal(graphed(torch.zeros(3)), torch.ones(3))
    assert len(tried) == 1, "other shapes are not tried either"


def test_what_is_wrong_with_the_work_itself_is_raised(captured):
    graphed = Graphed(lambda x: x + torch.zeros(3), captured[1])
    with pytest.raises(RuntimeError, match="must match"):
        graphed(torch.zeros(2))


def test_graphs_share_the_memory_of_inputs_of_one_shape(captured):
    seen = []
    graphed = Graphed(lambda x, y: seen.append(x.data_ptr()) or x.sum() + y.sum(), captured[1])
    for count in (2, 3):
        assert graphed(torch.ones(4), torch.ones(count)) == 4 + count
    assert len(set(seen)) == 1


def trained(folder, monkeypatch, config, capture=None, device="cpu"):
    """A run, by graphs that `capture` makes if it is given."""
    init = Trainer.__init__

    def with_capture(self, *args, **options):
        init(self, *args, **options | {"capture": capture})

    monkeypatch.setattr(Trainer, "__init__", with_capture)
    prepare(shape_data(5), folder, config, device=device).training.run()
    monkeypatch.setattr(Trainer, "__init__", init)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("accumulate", "settings"),
    [
        (1, {}),
        (2, {}),
        (1, {"model.norm": "batch", "model.head.dropout": 0.5}),
        (1, {"model.method": "fast-rcnn", "training.scheme": "stage-wise"}),
        (2, {"training.ema": 0.9, "loss.regions": "ohem", "loss.boxes": "giou", "loss.classes": "focal"}),
    ],
)
def test_training_by_graphs_learns_the_same_weights(captured, monkeypatch, tmp_path, accumulate, settings):
    counts, capture = captured
    config = override(tiny_config(epochs=2, accumulate=accumulate, batch=1), None, (), settings)
    plain = trained(tmp_path / "plain", monkeypatch, config)
    graphed = trained(tmp_path / "graphed", monkeypatch, config, capture)
    assert counts["replayed"] >= 10
    assert counts["captured"] < counts["replayed"]
    assert same_tensors(plain, graphed)


def test_another_network_is_recorded_anew(captured, monkeypatch, tmp_path):
    counts, capture = captured
    prepare(shape_data(1), tmp_path / "run", tiny_config(epochs=1)).training.run()
    monkeypatch.setattr("rcnn.inference.predictor.capture_on", lambda device: capture)
    detector = api.load(tmp_path / "run", "cpu", compile=True)
    pictures = [shape_sample("a").picture]
    (first,) = detector.predict(pictures)
    detector.look_with(detector.model.limited(replace(detector.model.limits, after=1)))
    (second,) = detector.predict(pictures)
    assert len(second) < len(first)
    assert counts == {"captured": 2, "replayed": 2}


def test_a_capture_that_fails_leaves_no_trace_in_training(monkeypatch, tmp_path):
    def failing(work):
        work()
        raise RuntimeError("out of memory")

    config = override(tiny_config(epochs=1, batch=1), None, (), {"model.norm": "batch", "model.head.dropout": 0.5})
    plain = trained(tmp_path / "plain", monkeypatch, config)
    assert same_tensors(plain, trained(tmp_path / "failing", monkeypatch, config, failing))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_record_that_fails_on_a_gpu_leaves_it_in_order():
    ones, stream = torch.ones(2, device="cuda"), torch.cuda.current_stream()
    graphed = Graphed(
        lambda x: x + float(x.sum()), CUDACapture(ones.device)
    )  # waits for the device: cannot be recorded
    assert torch.equal(graphed(ones).cpu(), torch.full((2,), 3.0))
    assert torch.cuda.current_stream() == stream
    again = Graphed(lambda x: x + 1, CUDACapture(ones.device))
    assert torch.equal(again(ones).cpu(), torch.full((2,), 2.0))
    assert len(again.graphs) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpus_own_graphs_learn_and_find_the_same(monkeypatch, tmp_path):
    config = tiny_config(epochs=1, batch=1)
    weights = load_file(trained(tmp_path / "plain", monkeypatch, config, device="cuda"))
    graphed = load_file(trained(tmp_path / "graphed", monkeypatch, config, CUDACapture(torch.device("cuda")), "cuda"))
    for name, value in weights.items():
        torch.testing.assert_close(graphed[name], value, rtol=1e-2, atol=1e-3)
    pictures = [shape_sample(str(n)).picture for n in range(5)]
    plain, compiled = (api.load(tmp_path / "plain", "cuda", compile=one).predict(pictures, 2) for one in (False, True))
    for own, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(own.scores, other.scores, rtol=0, atol=1e-3)
