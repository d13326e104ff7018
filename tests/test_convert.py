"""`rcnn convert --to torchvision`: a state dict that torchvision's model loads, with the same detections."""

import pytest
import torch
import torchvision
from conftest import tiny_config
from torchvision_random import GENERATED, MOBILE_320, NAMES, torchvisions

from rcnn import api, build
from rcnn.api.converting import to_torchvision
from rcnn.bench.calibrated import tensor
from rcnn.bench.predict import share_of, untrained
from rcnn.cli import main
from rcnn.compat.torchvision import CONFIGS, from_state
from rcnn.errors import ConfigError, DisagreementError
from rcnn.presets.overrides import override
from rcnn.runs import RunFolder
from rcnn.runs.tensors import write_tensors
from rcnn.structures import Detections


def as_run(path, model, config, names=NAMES):
    """A run's folder with the weights of a network."""
    path.mkdir()
    metadata = {"config": config.model_dump(mode="json"), "class_names": list(names)}
    write_tensors(RunFolder(path).best, model.state_dict(), metadata)
    return path


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    model, _ = from_state(MOBILE_320, torchvisions(MOBILE_320).state_dict())
    config = override(CONFIGS[MOBILE_320], None, (), {"input.short": 224, "input.long": 320, "model.rpn.nms": 0.65})
    return as_run(tmp_path_factory.mktemp("runs") / "mobile", model, config)


def test_the_printed_code_builds_a_model_with_the_same_detections(mobile, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    assert main(["convert", str(mobile), "--to", "torchvision", "--out", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    code = "\n".join(lines[lines.index(next(line for line in lines if line.startswith("import"))) : -2])
    known = {}
    exec(code, known)
    theirs = known["model"].eval()
    own = [found for picture in GENERATED for found in api.load(mobile).predict(picture)]
    with torch.no_grad():
        rows = [theirs([tensor(picture)])[0] for picture in GENERATED]
    expected = [Detections(row["boxes"], row["scores"], row["labels"], ()) for row in rows]
    assert len(expected[0]) >= 30
    assert share_of(own, expected, 0.98, pixels=0.01, score=1e-4) >= 0.98


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_every_part_computes_the_same_with_frozen_and_with_learned_norms(name, norm, tmp_path):
    model, _ = from_state(name, untrained(name, 2).state_dict())
    config = CONFIGS[name]
    if norm == "batch":
        neck = "batch" if config.model.neck_norm == "frozen" else "none"
        config = override(config, None, (), {"model.norm": "batch", "model.neck_norm": neck})
        model, _ = build.detector(config, 2)
    run = as_run(tmp_path / "run", model, config, ("a", "b"))
    done = to_torchvision(run, tmp_path / "weights.pth")
    assert done.name == name
    assert max(done.differences.values()) < 1e-4
    theirs = getattr(torchvision.models.detection, name)(**done.arguments)
    theirs.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True), strict=True)


def test_what_does_not_compute_the_same_is_not_written(mobile, tmp_path, monkeypatch):
    monkeypatch.setattr("rcnn.compat.torchvision.export._by_channel", lambda weight, grid: weight)
    with pytest.raises(DisagreementError, match="class scores"):
        to_torchvision(mobile, tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_torchvision_lacks_is_refused_by_the_setting_that_differs(tmp_path):
    config = tiny_config()
    model, _ = build.detector(config, 2)
    run = as_run(tmp_path / "run", model, config, ("a", "b"))
    with pytest.raises(ConfigError, match=r"^model\.\w+.*: torchvision has no such detector; the nearest"):
        to_torchvision(run, tmp_path / "weights.pth")


def test_a_file_that_exists_is_replaced_only_when_asked(mobile, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        to_torchvision(mobile, file)
    assert file.read_text() == "mine"
    to_torchvision(mobile, file, overwrite=True)
    assert isinstance(torch.load(file, weights_only=True), dict)
