"""A run's report: one page whose every figure is that of `rcnn evaluate --json`."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import TINY_SETS, prepare, shape_data, tiny_config
from PIL import Image

from rcnn import api
from rcnn.api.reporting import report_of_training
from rcnn.cli import main
from rcnn.config import Config
from rcnn.inference.predictor import Detector
from rcnn.presets.overrides import flat
from rcnn.report.page import Figures, course_of
from rcnn.report.page.advice import advise
from rcnn.report.page.galleries import HEIGHT, WIDTH, Gallery, view
from rcnn.report.page.words import ERRORS, STAGES, SUSPICIONS
from rcnn.runs import RunFolder
from rcnn.runs.tensors import read_tensors, write_tensors


class Page(HTMLParser):
    """The elements of a page, and the text of each figure."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.figures, self.loose = [], [], []
        self.inside = []
        self.script = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("img", "meta"):
            self.inside.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tags = [tag for tag, _ in self.inside]
        tag, attributes = self.inside[-1] if self.inside else ("", {})
        if tag == "data":
            self.figures.append((attributes["data-figure"], attributes["value"], data))
        elif tag == "script":
            self.script += data
        elif not {"svg", "style", "pre", "figcaption", "code", "li"} & set(tags):
            self.loose.append(data)


def resolved(document, pointer):
    for written in pointer.split("/")[1:]:
        key = written.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


@pytest.fixture(scope="module")
def reported(run, voc, tmp_path_factory):
    """A copy of the run with its report against itself, and what `rcnn evaluate` says of it."""
    own = shutil.copytree(run, tmp_path_factory.mktemp("report") / "a run")
    numbers = own.parent / "numbers.json"
    words = ["--device", "cpu", "--split", "test", "--against", str(own)]
    assert main(["report", str(own), str(voc), *words]) == 0
    asked = ["--protocol", "all", "--interval", "--analyse", "--json", str(numbers)]
    assert main(["evaluate", str(own), str(voc), *words, *asked]) == 0
    return own, json.loads(numbers.read_text("utf-8"))


def test_all_figures_of_the_report_are_those_of_rcnn_evaluate(reported):
    run, numbers = reported
    measured = json.loads(RunFolder(run).figures.read_text("utf-8"))["measured"]
    for each in (measured, numbers):
        assert each.pop("seconds_per_image") > 0
    assert measured == numbers


def test_every_number_on_the_page_is_one_of_its_figures(reported):
    run, _ = reported
    page = Page(RunFolder(run).report.read_text("utf-8"))
    document = json.loads(page.script)
    assert document == json.loads(RunFolder(run).figures.read_text("utf-8"))
    assert len(page.figures) > 100
    for pointer, exact, shown in page.figures:
        value = resolved(document, pointer)
        assert json.loads(exact) == value
        number = float(shown.replace("\N{MINUS SIGN}", "-").replace(",", ""))
        assert number == pytest.approx(value, abs=0.00051), pointer
    pointers = {pointer for pointer, _, _ in page.figures}
    assert {
        "/measured/AP",
        "/measured/interval/AP/low",
        "/measured/paired/AP/p",
        "/measured/stage_blame/missed",
    } <= pointers
    assert [text for text in page.loose if re.search(r"\d\.\d{3}", text)] == []


def test_the_page_needs_no_other_file_and_no_network(reported):
    run, _ = reported
    text = RunFolder(run).report.read_text("utf-8")
    assert len(text.encode()) < 10_000_000
    for tag, attributes in Page(text).elements:
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or attributes["type"] == "application/json"
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "url(http" not in text
    assert "@import" not in text


def test_the_page_can_be_heard(reported):
    run, _ = reported
    elements = Page(RunFolder(run).report.read_text("utf-8")).elements
    assert all(attributes.get("alt") for tag, attributes in elements if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in elements if tag == "svg")
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in elements if tag == "th")
    assert ("html", {"lang": "en"}) in elements


def test_pain_19_precision_recall_and_confusion_are_in_every_report(reported):
    run, numbers = reported
    text = RunFolder(run).report.read_text("utf-8")
    for title in ("Where AP is lost", "Which stage lost", "What is taken for what", "Precision by recall", "Classes"):
        assert title in text
    table = numbers["analysis"]["confusion"]["table"]
    page = Page(text)
    cells = [p for p, _, _ in page.figures if p.startswith("/measured/analysis/confusion/table/")]
    assert len(cells) == len(table) ** 2


def test_gap_6_each_kind_of_error_has_its_gain_and_its_pictures(reported):
    run, numbers = reported
    text = RunFolder(run).report.read_text("utf-8")
    kinds = numbers["analysis"]["errors"]["kinds"]
    assert [kind["kind"] for kind in kinds] == list(ERRORS)
    shown = sum(min(8, len(kind["worst"])) for kind in kinds)
    shown += sum(min(4, len(items)) for items in numbers["stage_blame"]["worst"].values())
    shown += min(24, len(numbers["analysis"]["suspected_label_errors"]))
    assert text.count("data:image/jpeg;base64,") == shown > 0


def test_names_from_the_data_cannot_become_part_of_the_page(reported):
    figures = Figures({"</script><b>": 1, "a/b~c": {"x": 0.25}})
    assert "<" not in figures.text()
    assert figures.show("a/b~c", "x") == '<data data-figure="/a~1b~0c/x" value="0.25">0.250</data>'
    assert "<b>" not in figures.show("</script><b>")
    assert figures.show("nowhere") == '<span class="none">\N{EN DASH}</span>'


def row(epoch, split, loss, stage="joint", **scores):
    return {"stage": stage, "epoch": epoch, "split": split, "loss": loss, "losses": {"score": loss}, **scores}


def course(scores, patience=0):
    rows = [
        row(n, part, 1 / n, **({"AP": ap} if part == "val" else {}))
        for n, ap in enumerate(scores, 1)
        for part in ("train", "val")
    ]
    return course_of(rows, patience)


def test_pain_9_training_that_turned_is_advised_to_stop_early_and_one_that_still_rises_to_go_on():
    turned, rising = course([0.1, 0.4, 0.3, 0.35]), course([0.1, 0.2, 0.3])
    assert (turned["best_epoch"], turned["after_best"], turned["patience"], turned["rising"]) == (2, 2, 2, False)
    assert (rising["best_epoch"], rising["patience"], rising["rising"]) == (3, None, True)
    assert "training.patience=<data" in advise(Figures({"training": turned}))[0].does
    assert "train longer" in advise(Figures({"training": rising}))[0].does
    assert advise(Figures({"training": course([0.1, 0.3, 0.29])})) == []
    assert advise(Figures({"training": course([0.1, 0.4, 0.3, 0.35], patience=2)})) == [], "it has patience already"


def test_epochs_of_stages_are_counted_through_and_the_last_stage_is_judged():
    rows = [
        row(1, "train", 3.0, "rpn"),
        row(1, "val", 0.5, "rpn"),
        row(1, "train", 2.0),
        row(1, "val", 1.0),
        row(2, "val", 1.5),
    ]
    told = course_of(rows)
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2, 3]
    assert (told["judged_by"], told["best_epoch"], told["stages"]) == ("loss", 2, ["rpn", "joint"])
    assert course_of([]) is None


def test_where_no_score_is_high_enough_to_be_shown_that_is_said_first():
    counts = {"detections": 92, "shown": 0, "score": 0.5, "objects": 8}
    first = advise(Figures({"measured": {"analysis": {"counts": counts}}}))[0]
    assert first.where == "classes"
    assert "reaches the score" in first.does
    shown = counts | {"shown": 3}
    assert advise(Figures({"measured": {"analysis": {"counts": shown}}})) == []


def test_advice_names_settings_that_exist():
    known = set(flat(Config().model_dump(mode="json")))
    words = " ".join([*(help for _, help in ERRORS.values()), *STAGES.values()])
    named = {"training.patience", *re.findall(r"\b(?:model|training|input)\.[a-z_.]*[a-z_]", words)}
    assert len(named) > 5
    assert named <= known


def test_a_word_stands_ready_for_each_cause_the_analysis_knows():
    from rcnn.analysis import CAUSES, KINDS
    from rcnn.analysis import SUSPICIONS as KNOWN

    assert (set(STAGES), set(ERRORS), set(SUSPICIONS)) == (set(CAUSES), set(KINDS), set(KNOWN))


@pytest.mark.parametrize("box", [(0, 0, 4, 4), (90, 50, 100, 60), (10, 0, 30, 60), (0, 20, 100, 30), (-5, -5, 120, 90)])
def test_a_cutting_holds_its_box_as_far_as_the_picture_does(box):
    left, top, right, bottom = view(np.array([box], float), (60, 100))
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 60
    assert left <= max(box[0], 0)
    assert top <= max(box[1], 0)
    assert right >= min(box[2], 100)
    assert bottom >= min(box[3], 60)


def test_a_cutting_shows_what_was_found_and_the_label_in_their_colours():
    samples = [shape_data(1, 0).splits["train"][0]]
    x1, y1, x2, y2 = map(float, samples[0].boxes[0])
    item = {"picture": 0, "box": [x1 + 3, y1, x2 + 3, y2], "truth_box": [x1, y1, x2, y2], "name": "disc", "score": 0.5}
    (cutting,) = Gallery(samples, lambda sample: sample.picture).show([item | {"truth_name": "square", "iou": 0.8}])
    assert cutting.words == "found disc 0.50, labelled square, IoU 0.80, in train0"
    import base64
    import io

    image = Image.open(io.BytesIO(base64.b64decode(cutting.address.split(",")[1])))
    assert image.width <= WIDTH
    assert image.height <= HEIGHT
    pixels = np.asarray(image, int)
    for colour in ((245, 163, 0), (77, 180, 240)):
        assert (abs(pixels - np.array(colour)).max(axis=2) < 60).sum() > 50


def test_training_ends_with_a_report_on_the_pictures_that_chose_its_weights(voc, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--preset", "demo", *TINY_SETS, "--epochs", "1", "--backbone-weights", "none", "--device", "cpu"]
    assert main(["train", str(voc), *words, "--out", str(out)]) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    document = json.loads((out / "report.json").read_text("utf-8"))
    assert document["measured"]["split"] == "val"
    assert "chose the best epoch too" in document["about"]["doubt"]
    assert main(["report", str(out), "--device", "cpu", "--out", str(tmp_path / "page.html")]) == 0
    again = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert (again["measured"]["split"], again["data"]["name"]) == ("test", voc.name)


def test_training_can_end_without_a_report(run, voc, tmp_path, capsys):
    own = shutil.copytree(run, tmp_path / "run")
    assert main(["train", str(voc), "--out", str(own), "--resume", "--no-report", "--device", "cpu"]) == 0
    assert "report" not in capsys.readouterr().out.replace("--no-report", "")
    assert not (own / "report.html").exists()


def test_training_without_validation_writes_none_and_begins_anew_without_the_old_one(voc, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("report.html", "report.json"):
        (out / name).write_text("of the run before")
    prepared = prepare(voc, out, tiny_config(epochs=1), overwrite=True, val_split="none")
    assert not (out / "report.html").exists()
    assert not (out / "report.json").exists()
    assert report_of_training(prepared, "shapes") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}"], "no such file; give the folder of a run"),
        (["{run}"], "cannot be found); give DATA too"),
        (["{run}", "{voc}", "--out", "{tmp}/page.pdf"], "the page is HTML; give a name that ends in .html"),
        (["{run}", "{voc}", "--split", "tset"], "did you mean 'test'?"),
        (["{run}", "{voc}", "--against", "{tmp}/none"], "no such run"),
    ],
)
def test_wrong_input_to_report_is_one_line(words, message, voc, tmp_path, reported, capsys):
    run = shutil.copytree(reported[0], tmp_path / "run")
    tensors_without_place(run)
    capsys.readouterr()
    assert main(["report", *(w.format(run=run, voc=voc, tmp=tmp_path) for w in words), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_of_other_classes_is_no_rival_and_that_is_told_before_any_picture_is_looked_at(
    run, voc, tmp_path, monkeypatch, capsys
):
    other = shutil.copytree(run, tmp_path / "other")
    tensors, metadata = read_tensors(RunFolder(other).best)
    write_tensors(RunFolder(other).best, tensors, metadata | {"class_names": ["disc", "square "]})
    monkeypatch.setattr(Detector, "predict", None)
    for command in ("evaluate", "report"):
        assert main([command, str(run), str(voc), "--against", str(other), "--device", "cpu"]) == 2
        assert "its classes are disc, square , not disc, square; compare runs" in capsys.readouterr().err


def tensors_without_place(run):
    """A run of before: nobody knows where its data was."""
    tensors, metadata = read_tensors(RunFolder(run).best)
    metadata["reading"].pop("data", None)
    write_tensors(RunFolder(run).best, tensors, metadata)


def test_a_report_of_one_class_without_any_detection_is_written_too(run, tmp_path):
    import torch

    from rcnn.api.measuring import Predicted
    from rcnn.api.reporting import EVERYTHING, write_report
    from rcnn.api.study import study
    from rcnn.structures import Detections

    samples = shape_data(0, 0, 2).splits["test"]
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ("disc", "square"))
    answers = study(Predicted(samples, [nothing] * 2, ("disc", "square")), "test", EVERYTHING)
    page = write_report(run, shape_data(0, 0, 2), "shapes", answers, api.load(run, "cpu"), None, tmp_path / "r.html")
    assert "there is no detection at all" in page.read_text("utf-8")
