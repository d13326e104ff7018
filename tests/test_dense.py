"""Compiled networks: the same numbers, few graphs, and no compiler needed."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import prepare, rows_of, shape_data, shape_sample, tiny_config

from rcnn import api, build
from rcnn.acceleration import dense
from rcnn.acceleration.activations import LeanReLU6, lean
from rcnn.cli import main
from rcnn.errors import ConfigError
from rcnn.presets import PRESETS


@pytest.fixture
def graphs(monkeypatch):
    """Instead of machine code: the graphs themselves, which are counted."""
    counted = []

    def backend(graph, inputs, options):
        counted.append(tuple(inputs[-1].shape))
        return graph.forward

    compile_part = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compile_part(self, backend=backend, **options)
    )
    monkeypatch.setattr(dense, "missing_compiler", lambda device: None)
    torch._dynamo.reset()
    yield counted
    torch._dynamo.reset()


def test_a_compiled_detector_finds_the_same_with_a_graph_a_part_and_canvas(run, graphs):
    pictures = [shape_sample(str(n), size).picture for n, size in enumerate([(64, 80), (80, 64), (64, 90)] * 3)]
    plain, compiled = api.load(run, "cpu"), api.load(run, "cpu", compile=True)
    for own, expected in zip(compiled.predict(pictures, batch=4), plain.predict(pictures, batch=4), strict=True):
        torch.testing.assert_close(own.boxes, expected.boxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(own.labels, expected.labels)
    before = len(graphs)
    assert 3 <= before <= 3 * 3 * 2
    list(compiled.predict(pictures[::-1], batch=4))
    assert len(graphs) == before, "a canvas that was met is not compiled for again"


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's compiler asks for it
def test_a_compiled_training_learns_the_same(tmp_path, graphs):
    for name, compile in (("plain", False), ("compiled", True)):
        prepare(shape_data(), tmp_path / name, tiny_config(epochs=1, compile=compile)).training.run()
    assert graphs
    unstable = ("seconds", "images_per_second", "seconds_waiting_for_data")
    for plain, compiled in zip(*(rows_of(tmp_path / n, *unstable) for n in ("plain", "compiled")), strict=True):
        np.testing.assert_allclose(compiled["loss"], plain["loss"], rtol=1e-4)


def test_a_relu6_whose_gradient_is_told_by_its_outputs_is_torchs():
    x = torch.tensor([-1.0, 0.0, 1e-3, 3.0, 6.0, 7.0, torch.inf, -torch.inf], dtype=torch.float64).requires_grad_()
    network, plain = torch.nn.Sequential(torch.nn.ReLU6(inplace=True)), torch.nn.ReLU6()
    lean(network)
    assert isinstance(network[0], LeanReLU6)
    assert torch.equal(network(x), plain(x))
    own, expected = (torch.autograd.grad(layer(x).sum(), x)[0] for layer in (network, plain))
    assert torch.equal(own, expected)
    assert torch.autograd.gradcheck(
        network, (torch.tensor([-2.0, 1.0, 5.0, 9.0], dtype=torch.float64, requires_grad=True),)
    )


def test_compiling_for_training_keeps_no_inputs_of_relu6(graphs):
    config = build.resolved(PRESETS["faster-rcnn-mobilenet-fpn"](), pretrained=True)
    model, _ = build.detector(config, 2)
    assert dense.compile_dense(model, torch.device("cpu"))
    kinds = {type(module) for module in model.modules()}
    assert LeanReLU6 in kinds
    assert torch.nn.ReLU6 not in kinds


def test_without_a_compiler_there_is_a_warning_and_the_same_detector(run, monkeypatch, caplog):
    def failing(*_, **__):
        raise RuntimeError("no C++ compiler\nsecond line")

    dense.missing_compiler.cache_clear()
    monkeypatch.setattr(torch, "compile", failing)
    with caplog.at_level(logging.WARNING):
        detector = api.load(run, "cpu", compile=True)
    dense.missing_compiler.cache_clear()
    assert not detector.compiled
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile has no compiler here and is left out: no C++ compiler"
    ]
    assert len(list(detector.predict(shape_sample("s").picture))) == 1


def test_a_canvas_for_every_picture_is_not_compiled_for(run, monkeypatch, capsys, tmp_path, quiet_log):
    with pytest.raises(ConfigError, match=r"training\.compile: with a canvas of its own"):
        prepare(shape_data(), tmp_path / "run", tiny_config(compile=True).model_copy(update={"input": _exact()}))
    words = [
        "predict",
        "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
        "x.jpg",
        "--out",
        str(tmp_path),
        "--compile",
    ]
    (tmp_path / "x.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    exact = SimpleNamespace(preprocess=SimpleNamespace(bucket="exact32"))
    monkeypatch.setattr("rcnn.api.loading.as_trained", lambda *_: exact)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("rcnn: --compile: with a canvas of its own")


def _exact():
    return tiny_config().input.model_copy(update={"bucket": "exact32"})
