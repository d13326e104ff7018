"""`rcnn propose`: files that are the same every time, an RPN's proposals in the picture's pixels, plots of recall."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import shape_sample, write_voc
from test_cli import assert_one_line

from rcnn import api
from rcnn.api.proposals import proposal_recall, rpn_proposals, with_proposals
from rcnn.cli import main
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector
from rcnn.proposals.files import ProposalTable, read_proposals, write_proposals
from rcnn.sample import DataSet, Sample

pytestmark = pytest.mark.usefixtures("quiet_log")
pytest.importorskip("cv2", reason="needs the extra `proposals`")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A VOC folder of pictures so flat that they are searched quickly: train 3, test 2."""
    splits = {"train": range(3), "test": range(3, 5)}
    samples = {name: [shape_sample(f"p{i}", (40, 400), 5) for i in numbers] for name, numbers in splits.items()}
    return write_voc(tmp_path_factory.mktemp("data") / "flat", DataSet(samples, ("disc", "square")))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RCNN_CACHE", str(tmp_path / "cache"))


def test_two_runs_on_any_number_of_processes_write_the_same_bytes(flat, tmp_path, monkeypatch, capsys):
    for name, workers in (("one", "0"), ("two", "2")):
        monkeypatch.setenv("RCNN_CACHE", str(tmp_path / f"cache of {name}"))
        assert main(["propose", str(flat), "--out", str(tmp_path / name), "--workers", workers]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    table = read_proposals(tmp_path / "one")
    assert (table.method, table.settings["mode"], table.settings["maximum"]) == ("selective-search", "fast", 2000)
    assert sorted(table.boxes) == [f"p{i}" for i in range(5)]
    lines = capsys.readouterr().out
    assert re.search(r"5/5 pictures  \d+\.\d\d s a picture", lines)
    assert re.search(r"two: 5 pictures, \d+ proposals each on average", lines)


def test_a_split_and_fewer_proposals(flat, tmp_path):
    line = ["--split", "test", "--maximum", "7", "--workers", "0", "--out", str(tmp_path / "deep" / "p")]
    assert main(["propose", str(flat), *line]) == 0
    assert {key: len(boxes) for key, boxes in read_proposals(tmp_path / "deep" / "p").boxes.items()} == {
        "p3": 7,
        "p4": 7,
    }


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(flat, tmp_path, monkeypatch, capsys):
    from rcnn.proposals import generate

    search, calls = generate.every_region, []

    def interrupted(picture, mode):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(picture, mode)

    monkeypatch.setattr(generate, "every_region", interrupted)
    line = ["propose", str(flat), "--workers", "0", "--out", str(tmp_path / "p")]
    assert main(line) == 130
    assert_one_line(capsys.readouterr().err, "stopped after 2 of 5 pictures")
    assert not (tmp_path / "p").exists()
    assert main(line) == 0
    assert len(calls) == 3 + 3  # the interrupted one again, and the last two


def test_ctrl_c_says_at_once_that_pictures_in_work_are_finished(monkeypatch, caplog):
    from rcnn.proposals import generate

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(generate, "ProcessPoolExecutor", lambda workers, *_: Interrupted(workers))
    with caplog.at_level("INFO", "rcnn"), pytest.raises(KeyboardInterrupt):
        list(generate.generate([np.zeros((9, 9, 3), np.uint8)], workers=1))
    assert caplog.messages == ["finishing the pictures in work ..."]


def test_an_rpn_proposes_in_the_pixels_of_the_picture(run, voc, tmp_path):
    assert main(["propose", str(voc), "--run", str(run), "--device", "cpu", "--out", str(tmp_path / "p")]) == 0
    table = read_proposals(tmp_path / "p")
    assert (table.method, table.settings["run"]) == ("rpn", str(run))
    assert len(table.boxes) == 9
    for boxes, scores in zip(table.boxes.values(), table.scores.values(), strict=True):
        assert len(boxes)
        assert (boxes >= 0).all()
        assert (boxes <= [80, 64, 80, 64]).all()
        assert (np.diff(scores) <= 0).all()


def test_a_picture_of_twice_the_size_has_the_same_proposals_twice_as_large(run):
    detector, small = api.load(run, "cpu"), shape_sample("s")
    large = Sample("l", small.picture.repeat(2, axis=0).repeat(2, axis=1))  # resized, the two are the same to the bit
    table = rpn_proposals(detector, [small, large], maximum=5)
    assert len(table.boxes["s"]) == 5
    np.testing.assert_allclose(table.boxes["l"], 2 * table.boxes["s"], rtol=1e-5)
    np.testing.assert_allclose(table.scores["l"], table.scores["s"], rtol=1e-5)


def test_a_model_without_rpn_is_refused(run):
    detector = api.load(run, "cpu")
    other = Detector(torch.nn.Linear(1, 1), detector.preprocess, detector.class_names)
    with pytest.raises(ConfigError, match="makes no proposals of its own"):
        rpn_proposals(other, [])


def perfect(path, dataset, shift=0.0):
    """The true boxes as proposals, moved by `shift` pixels."""
    samples = [sample for part in dataset.splits.values() for sample in part]
    boxes = {sample.id: (sample.boxes + shift).astype(np.float32) for sample in samples}
    write_proposals(path, ProposalTable("truth", {}, boxes, {key: np.ones(len(b)) for key, b in boxes.items()}))
    return path


def test_recall_is_printed_plotted_and_written(flat, tmp_path, capsys):
    dataset = api.read_data(flat)
    files = [perfect(tmp_path / "exact.safetensors", dataset), perfect(tmp_path / "moved.safetensors", dataset, 2.0)]
    words = [word for file in files for word in ("--recall", str(file))]
    assert main(["propose", str(flat), *words, "--out", str(tmp_path / "plots" / "r.png")]) == 0
    assert (tmp_path / "plots" / "r.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "plots" / "r.json").read_text("utf-8"))
    assert list(numbers) == ["exact", "moved"]
    last = {name: part["by_number"][-1]["average_recall"] for name, part in numbers.items()}
    assert last["exact"] == 1 > last["moved"] > 0.3
    screen = capsys.readouterr().out
    assert "5 pictures, 25 objects that count" in screen
    assert re.search(r"exact +2,000 +1\.000 +1\.000 +1\.000", screen)


def test_recall_from_python_is_that_of_the_command(flat, tmp_path):
    file = perfect(tmp_path / "p.safetensors", api.read_data(flat))
    assert proposal_recall(flat, file).objects == 25
    assert proposal_recall(flat, file, "test").at(2000, 0.7) == 1
    attached = with_proposals(api.read_data(flat), file, maximum=3)
    assert [len(sample.proposals) for sample in attached.splits["test"]] == [3, 3]


WRONG = {
    "no out": ("{flat}", "--out"),
    "rpn without a run": ("{flat} --out {tmp}/new --method rpn", "pass --run RUN"),
    "search with a run": ("{flat} --out {tmp}/new --method selective-search --run {tmp}", "leave --run out"),
    "recall and method": ("{flat} --out {tmp}/new.png --recall {tmp}/x --method rpn", "leave --method and --run out"),
    "recall of nothing": ("{flat} --out {tmp}/new.png --recall {tmp}/gone", "gone: no such file; make it with"),
    "recall as text": ("{flat} --out {tmp}/new.txt --recall {tmp}/file", "ends in .png, .svg or .pdf"),
    "recall of a text": ("{flat} --out {tmp}/new.png --recall {tmp}/file", "file: not a whole safetensors file"),
    "recall of other data": (
        "{flat} --out {tmp}/new.png --recall {tmp}/part",
        "p1: has no proposals in {tmp}/part; make",
    ),
    "recall of no results": ("{flat} --out {tmp}/new.png --recall {tmp}/no.json", "no.json: no such file; give COCO"),
    "existing file": ("{flat} --out {tmp}/file", "exists; pass --overwrite"),
    "no safetensors": ("{flat} --out {tmp}/new.json", "give --out a name such as new.safetensors"),
    "numbers over their source": ("{flat} --out {tmp}/some.png --recall {tmp}/some.json", "and is to be measured"),
    "existing plot": ("{flat} --out {tmp}/plot.png --recall {tmp}/part", "plot.png: exists; pass --overwrite"),
    "folder": ("{flat} --out {tmp}", "give --out the name of a file"),
    "inside of a file": ("{flat} --out {tmp}/file/new", "inside of a file"),
    "unknown split": ("{flat} --out {tmp}/new --split tset", "did you mean 'test'?"),
    "unknown mode": ("{flat} --out {tmp}/new --mode slow", "--mode"),
    "none at all": ("{flat} --out {tmp}/new --maximum 0", "--maximum"),
    "no such run": ("{flat} --out {tmp}/new --run {tmp}/gone", "gone: no such run"),
    "no such data": ("{tmp}/gone --out {tmp}/new", "no such file or folder"),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_is_one_line_and_writes_nothing(words, flat, tmp_path, capsys):
    line, message = WRONG[words]
    for name in ("file", "plot.png", "some.json"):
        (tmp_path / name).write_text("text")
    write_proposals(tmp_path / "part", ProposalTable("x", {}, {"p0": np.zeros((0, 4))}, {"p0": np.zeros(0)}))
    before = set(tmp_path.rglob("*"))
    assert main(["propose", *line.format(flat=flat, tmp=tmp_path).split()]) == 2
    assert_one_line(capsys.readouterr().err, message.format(tmp=tmp_path))
    assert set(tmp_path.rglob("*")) == before


def test_a_missing_opencv_is_told_before_the_data_is_read(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["propose", str(tmp_path / "gone"), "--out", str(tmp_path / "p")]) == 2
    assert_one_line(capsys.readouterr().err, "pip install 'rcnn[proposals]'")


def test_neither_opencv_nor_matplotlib_is_loaded_where_it_is_not_used():
    code = "import sys, rcnn.api, rcnn.cli.propose; print({'cv2', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
