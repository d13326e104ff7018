"""Model files that are broken, hostile or another program's: one line, nothing run, nothing left behind.

A new form of file goes into FILES, a new command that reads models into COMMANDS.
"""

import json
import pickle
import sys
import types
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from conftest import TINY_SETS
from PIL import Image
from safetensors.torch import save_file

import rcnn
from rcnn.bench.detectron2 import PYRAMID
from rcnn.cli import main
from rcnn.errors import WeightsError
from rcnn.runs.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("quiet_log")
TORCHVISION, DETECTRON2 = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", f"detectron2:{PYRAMID}"
TINY = " ".join(["--preset demo --device cpu --no-report", *(word.replace(" ", "") for word in TINY_SETS)])


class Harmful:
    """Its pickle makes a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


class Boundless:
    """Its pickle makes an array of whatever lies in memory."""

    def __reduce__(self):
        return np.ndarray, ((10**8,), "B")


def harmful_pickle(file, _):
    file.write_bytes(pickle.dumps({"model": {"a": np.zeros(3), "b": Harmful(file.parent / "touched")}}))


def harmful_archive(file, _):
    torch.save({"state_dict": {"a": torch.zeros(3)}, "more": Harmful(file.parent / "touched")}, file)


def harmful_old_archive(file, _):
    torch.save({"a": Harmful(file.parent / "touched")}, file, _use_new_zipfile_serialization=False)


def ultralytics(file, _):
    """A whole network, pickled by a package that need not be here."""
    package = types.ModuleType("ultralytics_like")
    package.Net = type("Net", (torch.nn.Linear,), {"__module__": package.__name__})
    sys.modules[package.__name__] = package
    try:
        torch.save({"epoch": 3, "model": package.Net(2, 2), "train_args": {"imgsz": 640}}, file)
    finally:
        del sys.modules[package.__name__]


def mmdetection(file, _):
    state = {"backbone.conv1.weight": torch.zeros(4, 3, 3, 3), "rpn_head.rpn_cls.bias": torch.zeros(3)}
    torch.save({"meta": {"CLASSES": ("cat",), "epoch": 12}, "state_dict": state}, file)


def torchvisions(file, _):
    torch.save(
        {"backbone.body.conv1.weight": torch.zeros(4, 3, 3, 3), "rpn.head.cls_logits.bias": torch.zeros(3)}, file
    )


def compressed(file, _):
    torch.save({"a": torch.zeros(1000)}, plain := file.with_suffix(".plain"))
    with ZipFile(plain) as old, ZipFile(file, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    plain.unlink()


def repeated(file, _):
    torch.save({"roi_heads.box_head.fc6.weight": torch.zeros(1).expand(10**7, 10**7)}, file)


def truncated(file, run):
    file.write_bytes((run / "model.safetensors").read_bytes()[:-1000])


def plain_tensors(file, _):
    save_file({"weight": torch.zeros(3)}, file)


def newer(file, _):
    write_tensors(file, {"weight": torch.zeros(3)}, {"format_version": 99})


def huge_header(file, _):
    file.write_bytes((10**15).to_bytes(8, "little") + b'{"a":' + b" " * 100)


def huge_tensor(file, _):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))


def other_settings(file, run):
    """A run whose settings ask for more memory than there is."""
    tensors, metadata = read_tensors(run / "model.safetensors")
    metadata["config"]["model"]["head"]["widths"] = [2 * 10**6, 2 * 10**6]
    write_tensors(file, tensors, metadata)


def no_classes(file, run):
    tensors, metadata = read_tensors(run / "model.safetensors")
    write_tensors(file, tensors, {**metadata, "class_names": 3})


def nested(file, run):
    save_file({"weight": torch.zeros(3)}, file, {"rcnn": "[" * 100_000})


NO_RUN, NO_STATE, MISSING = "not a whole safetensors file", "cannot be read as weights", "is missing); pass"
FILES = {
    "pickle that runs code": (harmful_pickle, "model.pkl", f"{NO_RUN} (it is a pickle)", "no table of tensors alone"),
    "pickle that runs code, .pth": (
        harmful_pickle,
        "model.pth",
        f"{NO_RUN} (it is a pickle)",
        "no table of tensors alone",
    ),
    "archive that runs code": (harmful_archive, "model.pth", f"{NO_RUN} (it is an archive", "only tensors are adm"),
    "old archive that runs code": (harmful_old_archive, "model.pth", f"{NO_RUN} (it is a pickle)", "only tensors"),
    "ultralytics' network": (ultralytics, "best.pt", f"{NO_RUN} (it is an archive", "it names ultralytics_like.Net"),
    "mmdetection's": (mmdetection, "epoch_12.pth", f"{NO_RUN} (it is an archive", MISSING),
    "torchvision's": (torchvisions, "weights.pth", "go with its name, LIBRARY:NAME --weights weights.pth", MISSING),
    "compressed archive": (compressed, "model.pth", f"{NO_RUN} (it is an archive", "its archive is compressed"),
    "tensors without end": (repeated, "model.pth", f"{NO_RUN} (it is an archive", "claims more numbers than the file"),
    "truncated": (truncated, "model.safetensors", NO_RUN, NO_STATE),
    "foreign safetensors": (plain_tensors, "model.safetensors", "not one of this library's runs", MISSING),
    "nested without end": (nested, "model.safetensors", "not one of this library's runs", MISSING),
    "newer format": (newer, "model.safetensors", "format 99, and this version reads up to 1; upgrade", MISSING),
    "huge header": (huge_header, "model.safetensors", f"{NO_RUN} (", NO_STATE),
    "huge tensor": (huge_tensor, "model.safetensors", f"{NO_RUN} (", NO_STATE),
    "empty": (lambda file, _: file.touch(), "model.safetensors", f"{NO_RUN} (it is empty)", "(it is empty)"),
    "text": (lambda file, _: file.write_text("no model\n" * 40), "model.pth", f"{NO_RUN} (it is text)", "(it is text)"),
    "folder": (lambda file, _: file.mkdir(), "model", "no such file; give the folder of a run", "no such file"),
    "huge settings": (other_settings, "model.safetensors", "its tensors are not those of its settings", ""),
    "no classes": (no_classes, "model.safetensors", "its class_names is missing or malformed", ""),
}
"""What makes a file, its name, and what is said of it as a run, and as weights of torchvision's model.

Without the last its tensors are sound: they may well be weights, and its settings are a run's.
"""

READ_AS_RUN = {
    "predict": "predict {file} {picture} --out {out}",
    "predict, newest": "predict {file} {picture} --out {out} --weights last",
    "evaluate": "evaluate {file} {voc} --json {out}/numbers.json",
    "against": "evaluate {run} {voc} --against {file} --json {out}/numbers.json",
    "train": "train {voc} --from {file} --out {out}",
    "compress": "compress {folder} --svd fc6=4 --out {out}",
    "sweep": "compress {folder} --sweep {voc} --out {out}",
    "convert": "convert {file} --out {out}.pth",
    "serve": "serve {file} --port 0",
    "propose": "propose {voc} --run {file} --out {out}.safetensors",
    "report": "report {folder} {voc}",
    "check": "check {voc} --run {folder}",
}
READ_AS_WEIGHTS = {
    "predict": f"predict {TORCHVISION} {{picture}} --weights {{file}} --out {{out}}",
    "predict, detectron2's": f"predict {DETECTRON2} {{picture}} --weights {{file}} --out {{out}}",
    "evaluate": f"evaluate {TORCHVISION} {{voc}} --weights {{file}} --json {{out}}/numbers.json",
    "train": f"train {{voc}} --from {TORCHVISION} --weights {{file}} --out {{out}}",
    "compress": f"compress {TORCHVISION} --weights {{file}} --svd fc6=4 --out {{out}}",
    "convert": f"convert {TORCHVISION} --to run --weights {{file}} --out {{out}}",
    "serve": f"serve {TORCHVISION} --weights {{file}} --port 0",
    "backbone": f"train {{voc}} {TINY} --backbone-weights {{file}} --out {{out}}",
}


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    file = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(file)
    return file


@pytest.fixture
def ask(tmp_path, run, voc, picture, capsys):
    """Run a command on a broken file, which must be refused in a line that names it and leave all as it was."""

    def refusal(file, line):
        given = {"file": file, "folder": file.parent, "out": tmp_path / "out", "tmp": tmp_path}
        words = [part.format(**given, run=run, voc=voc, picture=picture) for part in line.split()]
        before = sorted(tmp_path.rglob("*"))
        status, error = main(words), capsys.readouterr().err
        assert status == 2, error
        assert len(error.splitlines()) == 1, error
        assert error.startswith("rcnn: ")
        assert str(file.parent) in error
        assert "; " in error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return refusal


def made(kind, folder, run):
    make, name, *said = FILES[kind]
    (folder / "model").mkdir()
    file = folder / "model" / name
    make(file, run)
    return file, *said


def as_folder(file):
    """The file under the names that a run's have, so that its folder is one to all appearance."""
    for name in ("model.safetensors", "last.safetensors"):
        if not file.is_dir() and file.name != name:
            file.with_name(name).write_bytes(file.read_bytes())


@pytest.mark.parametrize("kind", FILES)
def test_no_command_takes_it_for_a_run(kind, tmp_path, run, ask):
    file, said, _ = made(kind, tmp_path, run)
    as_folder(file)
    for command, line in READ_AS_RUN.items():
        if command == "check" and not FILES[kind][-1]:
            continue
        error = ask(file, line)
        expected = "a run's is; weights of another" if "go with its name" in said and "{folder}" in line else said
        assert expected in error, command
    with pytest.raises(WeightsError, match=str(file.parent)):
        rcnn.load(file)


@pytest.mark.parametrize("kind", [kind for kind in FILES if FILES[kind][-1]])
def test_no_command_takes_it_for_weights(kind, tmp_path, run, ask):
    file, _, said = made(kind, tmp_path, run)
    for command, line in READ_AS_WEIGHTS.items():
        error = ask(file, line)
        assert str(file) in error, command
        if command not in ("backbone", "predict, detectron2's"):
            assert said in error, command
    for source in (TORCHVISION, DETECTRON2):
        with pytest.raises(WeightsError, match=str(file.parent)):
            rcnn.load(source, weights=file)


def test_an_array_that_a_pickle_makes_of_nothing_is_refused(tmp_path, ask):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"model": {"a": Boundless()}}))
    assert "claim more numbers than it holds" in ask(file, READ_AS_WEIGHTS["predict, detectron2's"])


@pytest.mark.parametrize("source", [TORCHVISION, DETECTRON2])
def test_tensors_of_no_sides_are_refused(source, tmp_path, ask):
    file = tmp_path / "model.pth"
    torch.save({"roi_heads.box_predictor.cls_score.weight": torch.tensor(1.0)}, file)
    error = ask(file, f"predict {source} {{picture}} --weights {{file}} --out {{out}}")
    assert f"the weights do not fit {source.partition(':')[2]} (" in error


def test_the_state_of_an_interrupted_run_is_read_no_less_carefully(tmp_path, voc, run, ask):
    for kind in ("truncated", "pickle that runs code"):
        folder = tmp_path / kind
        folder.mkdir()
        FILES[kind][0](folder / "last.safetensors", run)
        assert NO_RUN in ask(folder / "last.safetensors", "train {voc} --resume --out {folder}")
