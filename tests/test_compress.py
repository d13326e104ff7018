"""`rcnn compress`: a smaller run that is used as any other, and a sweep that says how small it may be."""

import json
import math
import shlex
import shutil

import pytest
import torch
from conftest import prepare, same_tensors, tiny_config
from matplotlib.figure import Figure
from PIL import Image

from rcnn import api
from rcnn.api import sweeping
from rcnn.api.compressing import compress
from rcnn.api.sweeping import TOGETHER, grid, least_ranks, sweep
from rcnn.cli import compress as compress_command
from rcnn.cli import main
from rcnn.cli.compress import show_sweep
from rcnn.errors import ConfigError, RcnnError
from rcnn.presets.overrides import override
from rcnn.report.compare_plots import name_points
from rcnn.report.sweep import FULL, SweepPoint, knee, names_of
from rcnn.runs import read_metadata
from rcnn.runs.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("quiet_log")
FC6, FC7 = 32, 32  # full ranks of the tiny run


def words(*parts):
    return [str(part) for part in parts]


def detections(run, voc):
    return list(api.load(run, "cpu").predict(sorted((voc / "JPEGImages").glob("t*.png"))))


@pytest.fixture(scope="module")
def small(tmp_path_factory, run):
    """The tiny run with both layers truncated."""
    out = tmp_path_factory.mktemp("small") / "run"
    compress(run, {"fc6": 8, "fc7": 4}, out)
    return out


def test_full_rank_reproduces_the_detections(run, voc, tmp_path):
    compress(run, {"fc6": FC6, "fc7": FC7}, tmp_path / "full")
    found, before = detections(tmp_path / "full", voc), detections(run, voc)
    assert any(len(d.scores) for d in before)
    for now, then in zip(found, before, strict=True):
        assert torch.equal(now.labels, then.labels)
        torch.testing.assert_close(now.scores, then.scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(now.boxes, then.boxes, atol=1e-4, rtol=0)


def test_a_run_with_frozen_norms_is_truncated_too(voc, tmp_path):
    config = override(tiny_config(epochs=1), None, (), {"model.norm": "frozen"})
    prepare(voc, tmp_path / "run", config).training.run()
    compress(tmp_path / "run", {"fc6": FC6, "fc7": FC7}, tmp_path / "full")
    for now, then in zip(detections(tmp_path / "full", voc), detections(tmp_path / "run", voc), strict=True):
        torch.testing.assert_close(now.scores, then.scores, atol=1e-4, rtol=0)


def test_the_new_run_says_its_ranks_and_carries_the_rest(run, small):
    old, new = (read_metadata(folder / "model.safetensors") for folder in (run, small))
    assert new["config"]["model"]["head"].pop("ranks") == [8, 4]
    assert old["config"]["model"]["head"].pop("ranks") == []
    assert new == old
    assert "ranks: [8, 4]" in (small / "config.yaml").read_text()
    assert (small / "splits.json").read_bytes() == (run / "splits.json").read_bytes()


def test_only_the_named_layers_change(run, tmp_path):
    compress(run, {"fc7": 4}, tmp_path / "new")
    (old, _), (new, metadata) = (read_tensors(f / "model.safetensors") for f in (run, tmp_path / "new"))
    assert metadata["config"]["model"]["head"]["ranks"] == [0, 4]
    assert old.keys() - new.keys() == {"head.layers.fc7.weight", "head.layers.fc7.bias"}
    assert all(torch.equal(new[name], old[name]) for name in old.keys() & new.keys())


def test_a_compressed_run_can_be_compressed_further_in_another_layer(run, small, tmp_path):
    compress(run, {"fc7": 4}, tmp_path / "one")
    compress(tmp_path / "one", {"fc6": 8}, tmp_path / "both")
    assert same_tensors(tmp_path / "both" / "model.safetensors", small / "model.safetensors")
    with pytest.raises(ConfigError, match="fc7: truncated to rank 4 already"):
        compress(tmp_path / "one", {"fc7": 2}, tmp_path / "again")


def test_the_smaller_run_is_used_by_the_same_commands(small, voc, tmp_path, capsys):
    assert main(words("evaluate", small, voc, "--device", "cpu")) == 0
    picture = sorted((voc / "JPEGImages").iterdir())[0]
    assert main(words("predict", small, picture, "--out", tmp_path / "found", "--device", "cpu")) == 0
    assert "3 pictures" in capsys.readouterr().out


def test_the_command_tells_what_became_of_each_layer(run, tmp_path, capsys):
    assert main(words("compress", run, "--svd", "fc6=8, fc7=4", "--out", tmp_path / "new")) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("fc")}
    inputs = 16 * 49
    before, after = f"{inputs * 32 + 32:,}", f"{8 * (inputs + 32) + 32:,}"
    assert rows["fc6"][1:7] == [str(inputs), "x", "32", "8", before, after]
    assert rows["fc7"][4] == "4"
    assert 0 < float(rows["fc7"][-1].rstrip("%")) < 100


WRONG = {
    "no choice": ("{run} --out {tmp}/new", "give one of them, like --svd fc6=1024,fc7=256 or --sweep DATA"),
    "both": ("{run} --svd fc6=4 --sweep {voc} --out {tmp}/new", "--svd and --sweep: give one of them"),
    "no rank": ("{run} --svd fc6 --out {tmp}/new", "'fc6' is not LAYER=RANK"),
    "rank below nothing": ("{run} --svd fc6=-3 --out {tmp}/new", "--svd fc6=-3: rank -3 of fc6; give 1 or more"),
    "rank in words": ("{run} --svd fc6=half --out {tmp}/new", "'fc6=half' is not LAYER=RANK"),
    "twice": ("{run} --svd fc6=4,fc6=5 --out {tmp}/new", "fc6 is given twice"),
    "unknown layer": ("{run} --svd fc8=4 --out {tmp}/new", "it has fc6, fc7"),
    "rank too high": ("{run} --svd fc7=33 --out {tmp}/new", "fc7: rank 33 of a layer of 32 x 32; give 1 to 32"),
    "rank 0": ("{run} --svd fc7=0 --out {tmp}/new", "give 1 to 32"),
    "compressed": ("{small} --svd fc7=2 --out {tmp}/new", "fc7: truncated to rank 4 already"),
    "nothing left to sweep": ("{small} --sweep {voc} --out {tmp}/new", "all its layers are truncated already"),
    "weights beside a run": ("{run} --weights w.pth --svd fc6=4 --out {tmp}/new", "is a run, which has its own"),
    "no weights": ("detectron2:COCO-Detection/faster_rcnn_R_50_C4_1x --svd fc6=4 --out {tmp}/new", "pass its model_"),
    "no run": ("{tmp}/none --svd fc6=4 --out {tmp}/new", "none: no such run; give the folder of one"),
    "a file": ("{run}/model.safetensors --svd fc6=4 --out {tmp}/new", "give the folder of a run"),
    "exists": ("{run} --svd fc6=4 --out {tmp}/there", "there: exists; pass --overwrite"),
    "sweep exists": ("{run} --sweep {voc} --out {tmp}/there", "there: exists; pass --overwrite"),
    "itself": ("{run} --svd fc6=4 --out {run} --overwrite", "the run itself, which would be lost"),
    "inside of a file": ("{run} --svd fc6=4 --out {run}/config.yaml/new", "a file, or inside of one"),
    "no layers": ("{tmp}/bare --svd fc6=4 --out {tmp}/new", "bare: its head has no fully connected layers"),
    "unknown split": ("{run} --sweep {voc} --split dev --out {tmp}/new", "split 'dev'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_writes_nothing(case, run, small, voc, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    if "bare" in WRONG[case][0]:
        write_bare(run, tmp_path / "bare")
    line, message = WRONG[case]
    files = sorted(tmp_path.rglob("*"))
    assert main(["compress", *line.format(run=run, small=small, voc=voc, tmp=tmp_path).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rcnn: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == files


def write_bare(run, folder):
    """A run whose siblings read the pooled features themselves."""
    tensors, metadata = read_tensors(run / "model.safetensors")
    metadata["config"]["model"]["head"]["widths"] = []
    kept = {name: value for name, value in tensors.items() if not name.startswith("head.layers")}
    for name in ("cls_score", "bbox_pred"):
        kept[f"head.{name}.weight"] = kept[f"head.{name}.weight"].new_zeros(len(kept[f"head.{name}.bias"]), 16 * 49)
    folder.mkdir()
    write_tensors(folder / "model.safetensors", kept, metadata)


def test_a_compressed_run_is_not_resumed(small, voc, capsys):
    assert main(words("train", voc, "--resume", "--out", small)) == 2
    assert f"rcnn: {small}: was compressed" in (error := capsys.readouterr().err)
    assert "cannot be resumed; resume the run that it was made from" in error


def test_overwriting_leaves_one_run_and_what_is_not_a_runs(run, small, tmp_path):
    shutil.copytree(run, tmp_path / "new")
    (tmp_path / "new" / "notes.txt").touch()
    assert main(words("compress", run, "--svd", "fc6=8,fc7=4", "--out", tmp_path / "new", "--overwrite")) == 0
    names = {path.name for path in (tmp_path / "new").iterdir() if path.is_file()}
    assert names == {"model.safetensors", "config.yaml", "splits.json", "notes.txt"}
    assert same_tensors(tmp_path / "new" / "model.safetensors", small / "model.safetensors")


def test_a_sweep_measures_draws_and_names_a_command_that_works(run, voc, tmp_path, capsys):
    out = tmp_path / "sweep"
    options = ["--points", "2", "--repeats", "1", "--tolerance", "100", "--by", "parameters", "--device", "cpu"]
    assert main(words("compress", run, "--sweep", voc, "--out", out, *options)) == 0
    facts = json.loads((out / "sweep.json").read_text())
    paths = [point["path"] for point in facts["points"]]
    assert paths == [FULL, "fc6", "fc6", "fc7", "fc7", TOGETHER, TOGETHER]
    assert all(point["layers_ms"] > 0 < point["picture_ms"] for point in facts["points"])
    assert facts["knee"] == facts["points"][-1]
    assert facts["machine"] == "cpu, 1 thread"
    with Image.open(out / "sweep.png") as drawing:
        assert drawing.width > 1000
    assert facts["command"] in capsys.readouterr().out
    program, *command = shlex.split(facts["command"])
    assert program == "rcnn"
    assert main([*command[:-1], str(tmp_path / "taken")]) == 0


def test_an_interrupted_sweep_measures_no_point_twice(run, voc, tmp_path, monkeypatch, capsys):
    out, told = tmp_path / "sweep", []

    def tell(point):
        told.append(point.ranks)
        if len(told) == 3:
            raise KeyboardInterrupt

    command = words("compress", run, "--sweep", voc, "--out", out, "--points", "2", "--repeats", "1", "--device", "cpu")
    monkeypatch.setattr(compress_command, "tell", tell)
    assert main(command) == 130
    assert len(json.loads((out / "points.json").read_text())["points"]) == 3
    measured, accuracy = [], sweeping.Study.accuracy
    monkeypatch.setattr(
        sweeping.Study, "accuracy", lambda self, path, ranks: measured.append(ranks) or accuracy(self, path, ranks)
    )
    assert main(command) == 2
    assert "exists; pass --resume to go on with the sweep in it, or --overwrite" in capsys.readouterr().err
    assert main([*command, "--resume", "--split", "test"]) == 2
    assert "began with another split; give the same" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert told[:3] == told[3:6]
    assert measured == told[6:]
    assert not (out / "points.json").exists()
    assert len(json.loads((out / "sweep.json").read_text())["points"]) == len(told) - 3
    assert main([*command, "--resume"]) == 2
    assert "holds no sweep that was interrupted; leave --resume out" in capsys.readouterr().err


def test_the_ranks_and_numbers_of_a_sweep_fit_a_narrow_terminal_whole(capsys):
    wide = SweepPoint(TOGETHER, {"fc6": 709, "fc7": 354}, 13_895_680, 0.5, 0.9, 12.34, 345.6)
    show_sweep([SweepPoint(FULL, {}, 102_764_544, 0.5, 0.9, 23.45, 456.7), wide], wide)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(word in shown for word in ("fc6=709,fc7=354", "13.9 M", "102.8 M", "12.34", "345.6", "knee"))


def test_labels_of_a_sweeps_points_do_not_lie_on_each_other():
    axes = Figure().subplots()
    some = [point(TOGETHER, {"fc6": n, "fc7": n}, 1000 + n, 0.9) for n in range(40)]
    axes.plot([p.parameters for p in some], [p.ap50 for p in some])
    axes.figure.draw_without_rendering()
    name_points(axes, names_of(some), "x-small")
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 0 < len(boxes) < len(some)
    assert not any(box.count_overlaps(boxes[:n]) for n, box in enumerate(boxes))


def test_the_points_of_a_sweep_are_what_the_compressed_run_gives(run, voc, tmp_path):
    full, *others = sweep(run, voc, points=2, repeats=1, device="cpu").points
    point = next(point for point in others if point.ranks == {"fc6": 15})
    compress(run, point.ranks, tmp_path / "new")
    for folder, one in ((run, full), (tmp_path / "new", point)):
        metrics = api.measure(folder, voc, "val", device="cpu", batch=4).metrics
        assert (one.ap, one.ap50) == pytest.approx((metrics["AP"], metrics["AP50"]), abs=1e-9)
    assert full.parameters == 16 * 49 * 32 + 32 + 32 * 32 + 32
    assert point.parameters == 15 * (16 * 49 + 32) + 32 + 32 * 32 + 32


def test_the_grid_stays_below_the_rank_that_begins_to_pay():
    layers = {"fc6": torch.nn.Linear(25088, 4096, device="meta"), "fc7": torch.nn.Linear(64, 64, device="meta")}
    assert list(grid(layers, 2)) == [
        ("fc6", {"fc6": 2640}),
        ("fc6", {"fc6": 1760}),
        ("fc7", {"fc7": 23}),
        ("fc7", {"fc7": 15}),
        (TOGETHER, {"fc6": 2640, "fc7": 23}),
        (TOGETHER, {"fc6": 1760, "fc7": 15}),
    ]
    assert list(grid({"fc6": torch.nn.Linear(4, 4)}, 5)) == [("fc6", {"fc6": 1})]


def point(path, ranks, parameters, ap50, milliseconds=math.nan):
    return SweepPoint(path, ranks, parameters, ap50 / 2, ap50, milliseconds, milliseconds)


POINTS = (
    point(FULL, {}, 100, 0.900, 9),
    point("fc6", {"fc6": 8}, 60, 0.899, 6),
    point("fc6", {"fc6": 4}, 40, 0.895, 5),
    point("fc6", {"fc6": 2}, 30, 0.870, 3),
    point("fc7", {"fc7": 8}, 80, 0.904, 4),
    point("fc7", {"fc7": 4}, 75, 0.896, 7),
    point(TOGETHER, {"fc6": 4, "fc7": 8}, 20, 0.894, 2),
)


def test_the_knee_is_the_cheapest_that_loses_little_enough():
    assert knee(POINTS, 0.5, "parameters") is POINTS[2]
    assert knee(POINTS, 0.5) is POINTS[4]
    assert knee(POINTS, 1) is POINTS[6]
    assert knee(POINTS[:1], 0) is POINTS[0]


def test_each_layer_alone_is_pushed_as_far_as_it_bears():
    assert least_ranks(POINTS, 0.5) == {"fc6": 4, "fc7": 4}
    assert least_ranks(POINTS, 0.2) == {"fc6": 8, "fc7": 8}
    assert least_ranks(POINTS[:4], 5) == {"fc6": 2}


def test_a_split_without_objects_cannot_be_swept(run, voc, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(voc, data)
    for name in (data / "ImageSets" / "Main" / "val.txt").read_text().split():
        file = data / "Annotations" / f"{name}.xml"
        head, _, rest = file.read_text().partition("<object>")
        file.write_text(head + rest.rpartition("</object>")[2])
    with pytest.raises(RcnnError, match="split 'val': has no object to measure AP50 by"):
        sweep(run, data, device="cpu")
