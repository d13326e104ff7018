"""Programs of torch.export: they detect like other exported files, and nothing that somebody put into one is run."""

import io
import json
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_files import bright, metadata, write_program
from PIL import Image

import rcnn
from rcnn.cli import main
from rcnn.errors import WeightsError
from rcnn.heads.roi import RoIAlignPool, RoIMaxPool
from rcnn.heads.spp import SPPPool
from rcnn.inference.program import _refuse_odd
from rcnn.inference.program_operators import is_operator
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
        return {f"model/{name.partition('/')[2]}": archive.read(name) for name in archive.namelist()}


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
    call["in_spec"] = call["in_spec"].replace("builtins.dict", "collections.defaultdict", 1)


def keywords(tree, place):
    call = tree["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = call["in_spec"].replace("original_sizes", python(place), 1)


def returned(tree, place):
    call = tree["graph_module"]["module_call_graph"][0]["signature"]
    call["out_spec"] = call["out_spec"].replace("scores", "marks")


def power(tree, place):
    value = next(iter(tree["graph_module"]["graph"]["sym_int_values"].values()))
    value["as_expr"]["expr_str"] = "Pow(Integer(9), Integer(9))"


def power_in_a_key(tree, place):
    tree["range_constraints"]["9**9**9**9"] = {"min_val": 1, "max_val": 2}


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
    "keywords": changed(keywords),
    "returned": changed(returned),
    "power": changed(power),
    "power in a key": changed(power_in_a_key),
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
        ("torch.ops.rcnn.nms.default", True),
        ("torch.ops.rcnn.bin_max.default", True),
        ("torch.ops.aten.__and__.Tensor", True),
        ("torch.ops.aten._assert_tensor_metadata.default", True),
        ("torch.ops.aten.dropout.default", True),
        ("torch.ops.aten.hardswish_.default", True),
        ("torch.ops.aten.scaled_dot_product_attention.default", True),
        ("torch.ops.rcnn.bin_max_backward.default", False),
        ("torch.ops.rcnn.roi_align_backward.default", False),
        ("torch.ops.rcnn.best_overlap.default", False),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.aten.set_.source_Tensor", False),
        ("torch.ops.aten.resize_.default", False),
        ("torch.ops.aten.as_strided.default", False),
        ("torch.ops.aten._unsafe_view.default", False),
        ("torch.ops.aten._embedding_bag.default", False),
        ("torch.ops.aten.max_pool2d_with_indices_backward.default", False),
        ("torch.ops.aten.adaptive_max_pool2d_backward.default", False),
        ("torch.ops.aten.max_unpool2d.default", False),
        ("torch.ops.aten.empty.memory_format", False),
        ("torch.ops.aten.add.out", False),
        ("torch.ops.aten.mean.names_out", False),
        ("torch.ops.torchvision.roi_pool.default", False),
        ("_operator.pow", False),
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


class _Pooling(torch.nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, images, boxes):
        return self.pool([torch.nn.functional.max_pool2d(images, 8)], boxes)


@pytest.mark.parametrize("pool", [RoIMaxPool, RoIAlignPool, partial(SPPPool, bins=(1, 2))])
def test_all_that_pooling_calls_is_known(pool):
    images, boxes = torch.rand(2, 3, 64, 96), torch.tensor([[[1.0, 1, 40, 40], [5, 5, 60, 60], [2, 2, 30, 50]]] * 2)
    batch = torch.export.Dim("batch", min=1, max=8)
    module = _Pooling(pool((8,), lambda boxes: torch.zeros(boxes.shape[:2], dtype=torch.int64)))
    program = torch.export.export(module, (images, boxes), dynamic_shapes=({0: batch}, {0: batch}), strict=False)
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    unknown = [f"{op}" for op in called if hasattr(op, "_schema") and not is_operator(f"torch.ops.{op}")]
    assert any(f"{op}".startswith("rcnn.") for op in called)
    assert unknown == []


@pytest.mark.parametrize("text", ["1" * 5000 + "!", "-1" * 5000 + "!", "Integer(" * 5000 + "!"])
def test_a_long_shape_is_refused_at_once(text):
    with pytest.raises(ModelFileError, match="holds what rcnn export does not write"):
        _refuse_odd(Path("model.pt2"), {"expr_str": text})


@pytest.mark.parametrize(("exponent", "known"), [("2", True), ("-1", True), ("99", False), ("Symbol('s1')", False)])
def test_powers_of_shapes_are_small(exponent, known):
    tree = {"expr_str": f"Mul(Integer(32), Pow(Symbol('s0', positive=True, integer=True), Integer({exponent})))"}
    if known:
        _refuse_odd(Path("model.pt2"), tree)
    else:
        with pytest.raises(ModelFileError, match="holds what rcnn export does not write"):
            _refuse_odd(Path("model.pt2"), tree)


class Beyond(torch.nn.Module):
    """Takes the maximum of cells that lie far behind a map."""

    def forward(self, images, sizes, original_sizes):
        maps = images.float().permute(0, 3, 1, 2)
        bins = (sizes[:, None, None] * 1000).repeat(1, 1, 1, 2)
        pooled, _ = torch.ops.rcnn.bin_max([maps], torch.zeros_like(sizes[:, :1]), bins + torch.tensor([0, 1, 0, 1]))
        zeros = pooled.flatten(1)[:, :1] + original_sizes[:, :1]
        return {"boxes": zeros[:, :, None].repeat(1, 1, 4), "scores": zeros, "labels": zeros, "count": sizes[:, 0]}


def test_a_program_that_reaches_beyond_its_memory_fails_in_a_line(picture, tmp_path, capfd, quiet_log):
    file = write_program(tmp_path / "model.pt2", module=Beyond())
    assert main(["predict", str(file), str(picture), "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert "model.pt2: torch cannot run it (a bin is not within the map of its level); export it again" in error
    assert error.count("\n") == 1


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
        run = torch.export.load(tmp_path / "model.pt2").module()
        run(images=torch.zeros(1, 64, 96, 3, dtype=torch.uint8), sizes=size, original_sizes=size)
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
