"""Programs of torch.export: they detect like other exported files, and nothing that somebody put into one is run."""

import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_files import bright, metadata, write_program
from PIL import Image

import rcnn
from rcnn.cli import main
from rcnn.errors import WeightsError
from rcnn.inference.program import _refuse_odd
from rcnn.runtime import ModelFileError

BOX, SIZE = (8, 16, 40, 48), (64, 80)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return write_program(tmp_path_factory.mktemp("models") / "model.pt2")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    file = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(bright(SIZE, BOX)).save(file)
    return file


def test_a_program_detects_what_is_bright(program):
    pictures = [bright(SIZE, BOX), bright((128, 160), (20, 32, 80, 96), (20, 20, 230)), bright(SIZE, (0, 0, 0, 0))]
    warm, cold, nothing = rcnn.load(program).predict(pictures, batch=3, score=0.0)
    assert (warm.names, cold.names, nothing.names) == (["warm", "whole"], ["cold", "whole"], [])
    np.testing.assert_allclose(warm.boxes, [BOX, (0, 0, 80, 64)], atol=1e-3)
    np.testing.assert_allclose(cold.boxes, [(20, 32, 80, 96), (0, 0, 160, 128)], atol=1e-3)


class Touches:
    """A pickle that makes a file when it is read."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (str(self.place), "w")


def pickled(place):
    content = io.BytesIO()
    torch.save(Touches(place), content)
    return content.getvalue()


def python(place):
    return f"__import__('pathlib').Path({str(place)!r}).touch()"


def members_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(file, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def weights(members, place):
    config = json.loads(members["model/data/constants/model_constants_config.json"])
    next(iter(config["config"].values()))["use_pickle"] = True
    members["model/data/constants/model_constants_config.json"] = json.dumps(config)
    members["model/data/constants/tensor_0"] = pickled(place)


def samples(members, place):
    members["model/data/sample_inputs/model.pt"] = pickled(place)


def changed(change):
    def attack(members, place):
        tree = json.loads(members["model/models/model.json"])
        change(tree, place)
        members["model/models/model.json"] = json.dumps(tree)

    return attack


def expression(tree, place):
    value = next(iter(tree["graph_module"]["graph"]["sym_int_values"].values()))
    value["as_expr"]["expr_str"] = python(place)


def guards(tree, place):
    tree["guards_code"] = [python(place)]


def operator(tree, place):
    node = tree["graph_module"]["graph"]["nodes"][-1]
    node["target"] = "torch.os.mkdir"
    node["inputs"] = [{"name": "path", "arg": {"as_string": str(place)}, "kind": 1}]


def specification(tree, place):
    call = tree["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = call["in_spec"].replace("builtins.tuple", "collections.defaultdict", 1)


def name(tree, place):
    tree["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = f"a=({python(place)})"


def key(tree, place):
    tree["graph_module"]["graph"]["tensor_values"][python(place)] = None


def library(members, place):
    members["model/data/aotinductor/model/code.so"] = b"\\x7fELF"


def custom(members, place):
    members["model/data/constants/custom_obj_0"] = pickled(place)


def outside(members, place):
    members["model/../../escaped"] = b"text"


ATTACKS = {
    "weights": weights,
    "expression": changed(expression),
    "operator": changed(operator),
    "specification": changed(specification),
    "name": changed(name),
    "key": changed(key),
    "library": library,
    "custom": custom,
    "outside": outside,
}
DROPPED = {"samples": samples, "guards": changed(guards)}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_could_be_run_is_refused_in_a_line(program, picture, tmp_path, capfd, quiet_log, attack):
    members, place, file = members_of(program), tmp_path / "ran", tmp_path / "model.pt2"
    ATTACKS[attack](members, place)
    write(file, members)
    assert main(["predict", str(file), str(picture), "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert "holds what rcnn export does not write" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2"]


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("torch.ops.aten.conv2d.default", True),
        ("torch.ops.rcnn.roi_align.default", True),
        ("torch.ops.torchvision.roi_align.default", True),
        ("_operator.floordiv", True),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.image.write_file.default", False),
        ("torch.ops.aten.conv2d.default.__class__", False),
        ("_operator.methodcaller", False),
        ("torch.hub.load", False),
    ],
)
def test_operators_that_compute_are_known_and_those_that_reach_files_or_python_are_not(target, known):
    tree = {"nodes": [{"target": target}]}
    if known:
        _refuse_odd(Path("model.pt2"), tree)
    else:
        with pytest.raises(ModelFileError, match=f"model.pt2: holds what rcnn export does not write .{target}"):
            _refuse_odd(Path("model.pt2"), tree)


@pytest.mark.parametrize("attack", DROPPED)
def test_what_is_not_needed_is_not_looked_at(program, tmp_path, attack):
    members, place = members_of(program), tmp_path / "ran"
    DROPPED[attack](members, place)
    (found,) = rcnn.load(write(tmp_path / "model.pt2", members)).predict(bright(SIZE, BOX))
    assert found.names == ["warm", "whole"]
    assert not place.exists()


@pytest.mark.parametrize("attack", ["weights", "expression", "samples", "guards"])
@pytest.mark.filterwarnings("ignore")
def test_torch_itself_runs_what_is_refused_or_dropped_here(program, tmp_path, attack):
    members, place = members_of(program), tmp_path / "ran"
    (ATTACKS | DROPPED)[attack](members, place)
    write(tmp_path / "model.pt2", members)
    size = torch.tensor([[64, 80]])
    with suppress(Exception):
        torch.export.load(tmp_path / "model.pt2").module()(torch.zeros(1, 64, 96, 3, dtype=torch.uint8), size, size)
    assert place.exists()


def test_a_compressed_archive_is_refused(program, tmp_path):
    with pytest.raises(WeightsError, match="holds what rcnn export does not write"):
        rcnn.load(write(tmp_path / "model.pt2", members_of(program), zipfile.ZIP_DEFLATED))


def test_a_program_without_metadata_or_of_a_newer_format_is_refused(program, tmp_path):
    members = members_of(program)
    for text, words in (("", "no detector of rcnn"), (json.dumps(metadata(format_version=2)), "format 2")):
        members["model/extra/rcnn.json"] = text
        with pytest.raises(WeightsError, match=words):
            rcnn.load(write(tmp_path / "model.pt2", members))


def test_bf16_is_asked_for_at_export(program):
    with pytest.raises(WeightsError, match="computes as it was exported"):
        rcnn.load(program, precision="bf16")
