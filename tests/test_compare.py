"""`rcnn compare`: the four methods and the papers' studies on made-up shapes, resumed by piece, and their page."""

import json
import math
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import TINY, Silent, rows_of, same_tensors, shape_data

from rcnn import api
from rcnn.api.compare import STUDIES, Asked, compare, make_plan
from rcnn.api.compare.pieces import Piece, in_order
from rcnn.api.compare.plan import NAMES
from rcnn.api.compare.record import Record, read_record
from rcnn.api.compare.run import Quiet
from rcnn.api.compare.studies.scales import scales_of
from rcnn.bench.phases import phase_seconds
from rcnn.cli import compare as compare_command
from rcnn.cli import main
from rcnn.errors import ConfigError
from rcnn.presets.family import METHODS
from rcnn.proposals.files import read_proposals, write_proposals
from rcnn.report.compare import Column, Section, Table
from rcnn.report.words import amount
from rcnn.sample import DataSet

pytestmark = pytest.mark.usefixtures("quiet_log")
SHARED = {
    **{key: value for key, value in TINY.items() if not key.startswith("training.")},
    "model.proposals.train": 40,
    "model.proposals.test": 40,
    "training.batch": 2,
    "training.lr": 0.001,
}
SETS = [f"{key}={value}" for key, value in SHARED.items()]
SETS_FOR = {
    "rcnn": ["model.head.crop=32", "model.head.context=2", "model.head.pool=2", "model.head.widths=[]"],
    "sppnet": ["model.head.bins=[1, 2]"],
}


def asked(**changes):
    settings = {
        "backbone": "small",
        "backbone_weights": "none",
        "epochs": 1,
        "sets": SETS,
        "sets_for": {m: SETS_FOR[m] for m in changes.get("methods", METHODS) if m in SETS_FOR},
        "device": "cpu",
        "precision": "fp32",
        "timed": 1,
        "repeats": 1,
    }
    return Asked(**settings | changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, voc):
    """A comparison of everything, with all studies: not to be changed."""
    cache = pytest.MonkeyPatch()
    cache.setenv("RCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
    out = tmp_path_factory.mktemp("compared") / "shapes"
    record, sections = compare(make_plan(voc, out, asked(studies=tuple(STUDIES))))
    cache.undo()
    return out, record, sections


def regions_of(whole):
    """The whole comparison's proposals, as if something else had made them: their search is not timed."""
    file = whole[0].parent / "given.safetensors"
    if not file.exists():
        write_proposals(file, replace(read_proposals(whole[0] / "proposals.safetensors"), method="given"))
    return file


def some(whole, out, voc, watcher=None, resume=False, **changes):
    """A small comparison, with the proposals of the whole one."""
    return compare(make_plan(voc, out, asked(proposals=regions_of(whole), **changes)), watcher, resume)


class Counting(Quiet):
    """Remembers the pieces; stops before the piece `until`, or after an epoch of the run `within`."""

    def __init__(self, until=None, within=None):
        self.pieces = []
        self.until = until
        self.within = within

    def began(self, piece, number, pieces):
        if piece == self.until:
            raise KeyboardInterrupt
        self.pieces.append(piece)

    @contextmanager
    def training(self, folder):
        yield Stopping() if folder.path.name == self.within else Silent()


class Stopping(Silent):
    def epoch_started(self, epoch, epochs, batches):
        if epoch == 2:
            raise KeyboardInterrupt


def section(sections, name):
    return next(part for part in sections if part.name == name)


def test_every_method_and_study_has_a_table_whose_numbers_are_known(whole):
    _, record, sections = whole
    names = ["methods", "accuracy", "classes", "training", "testing", "speed-up", *STUDIES]
    assert [part.name for part in sections] == names
    for part in sections:
        own = [place for place, column in enumerate(part.table.columns) if not column.paper]
        assert len(part.table.rows) >= (2 if part.name == "classes" else 3), part.name
        assert all(row[place] is not None for row in part.table.rows for place in own), part.name
        assert any(column.paper for column in part.table.columns) or part.name in ("training", "proposals")
    assert [row[0] for row in section(sections, "methods").table.rows] == list(NAMES.values())
    assert {table["name"] for table in record.tables} == set(names)


def test_times_are_split_and_speed_is_told_against_rcnn(whole):
    _, record, sections = whole
    stages = {method: list(record.trained(method).seconds) for method in METHODS}
    assert stages["rcnn"] == stages["sppnet"] == ["fine-tune", "svm", "ridge"]
    assert (stages["fast-rcnn"], stages["faster-rcnn"]) == (["multi-task"], ["approximate-joint"])
    parts = {method: record.measured(method).seconds for method in METHODS}
    assert parts["rcnn"].convolutions < parts["rcnn"].regions / 10  # it shares none
    assert [parts[m].proposals is None for m in METHODS] == [True, True, True, False]
    assert record.searched.train_seconds > 0 < record.searched.test_seconds
    rows = {row[0]: row for row in section(sections, "speed-up").table.rows}
    assert rows["R-CNN"][1:5] == (1, 1, 1, 1)
    times = {row[0]: row for row in section(sections, "testing").table.rows}
    assert times["Fast R-CNN"][4] == pytest.approx(sum(times["Fast R-CNN"][1:4]))
    assert rows["Fast R-CNN"][4] == pytest.approx(times["R-CNN"][4] / times["Fast R-CNN"][4])


def test_each_run_is_an_ordinary_run(whole, voc):
    out, record, _ = whole
    assert set(METHODS) < {path.name for path in out.iterdir() if path.is_dir()}
    for method in ("rcnn", "faster-rcnn"):
        measured = api.measure(out / method, voc, device="cpu", proposals=out / "proposals.safetensors")
        assert measured.metrics["AP50"] == pytest.approx(record.measured(method).AP50)
        assert api.stored_config(out / method).model.method == method


def test_studies_train_no_run_twice(whole):
    out, record, _ = whole
    trained = {name.removeprefix("train ") for name in record.pieces if name.startswith("train ")}
    variants = {f"fast-rcnn-{end}" for end in ("svm", "1-scale", "5-scales", "stage-wise")}
    variants |= {f"fast-rcnn-frozen-{n}" for n in (1, 2, 4)}
    assert trained == set(METHODS) | variants | {"sppnet-5-scales", "faster-rcnn-4-step", "faster-rcnn-exact-joint"}
    assert trained == {path.name for path in out.iterdir() if path.is_dir()}


def test_the_record_is_what_its_schema_says_and_the_page_of_documentation_names_each_field(whole):
    text = (whole[0] / "compare.json").read_text("utf-8")
    assert Record.model_validate_json(text) == whole[1]
    page = (Path(__file__).parents[1] / "docs" / "compare.md").read_text("utf-8")
    schema = Record.model_json_schema()
    fields = {name for part in (schema, *schema["$defs"].values()) for name in part["properties"]}
    assert {name for name in fields if f"`{name}`" not in page} == set()
    assert "NaN" not in text


def test_the_page_needs_nothing_from_elsewhere(whole):
    text = (whole[0] / "compare.html").read_text("utf-8")
    assert re.findall(r"https?:|<script|<link|<img|@import|url\((?!#)", text) == []
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    figures = re.findall(r"<figure>(.*?)</figure>", text, re.S)
    assert len(figures) == sum(len(part.plots) for part in whole[2])
    for figure in figures:
        drawing, _, rest = figure.partition("</svg>")
        assert ElementTree.fromstring(f"{drawing}</svg>".strip()).tag == "svg"
        assert len(re.search(r"</b>(.*?)</figcaption>", rest, re.S)[1]) > 30
    names = re.findall(r'id="([^"]+)"', text)
    assert len(names) == len(set(names))


def test_tables_leave_out_what_is_empty_and_break_no_number(whole, capsys, monkeypatch):
    monkeypatch.setattr(compare_command, "WIDTH", 60)
    columns = (Column("method", ""), Column("parameters of fc", amount), Column("empty"), Column("training, s"))
    rows = (("Faster R-CNN", 13_895_680, None, 1234.5), ("R-CNN", 1000, math.nan, 1.0))
    compare_command.show(Section("a", "A", "", Table(columns, rows)))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("13.9 M", "1,000", "1234.5", "parameters of fc"))
    assert "empty" not in shown
    for part in whole[2]:
        compare_command.show(part)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 60
    for part in whole[2]:
        texts = part.table.filled().texts()
        assert all(cell in shown for row in texts for cell in row)


def test_no_number_is_cut_where_there_is_no_terminal(whole, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for part in whole[2]:
        compare_command.show(part)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) > 80


def test_an_interrupted_comparison_goes_on_without_training_again(whole, voc, tmp_path):
    out, methods = tmp_path / "c", ("fast-rcnn", "faster-rcnn")
    with pytest.raises(KeyboardInterrupt):
        some(whole, out, voc, Counting(until="train faster-rcnn"), methods=methods)
    before = (out / "fast-rcnn" / "last.safetensors").stat().st_mtime_ns
    done = json.loads((out / "compare.json").read_text())["pieces"]
    watcher = Counting()
    some(whole, out, voc, watcher, resume=True, methods=methods, studies=("multi-task",))  # a study joins
    assert watcher.pieces[:2] == ["train faster-rcnn", "measure faster-rcnn"]
    assert "train fast-rcnn-stage-wise" in watcher.pieces
    assert (out / "fast-rcnn" / "last.safetensors").stat().st_mtime_ns == before
    now = json.loads((out / "compare.json").read_text())["pieces"]
    assert {name: now[name] for name in done} == done


def test_a_run_that_was_stopped_in_its_middle_goes_on_from_there(whole, voc, tmp_path):
    options = {"methods": ("fast-rcnn",), "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        some(whole, tmp_path / "c", voc, Counting(within="fast-rcnn"), **options)
    record, _ = some(whole, tmp_path / "c", voc, resume=True, **options)
    straight, _ = some(whole, tmp_path / "d", voc, **options)
    assert same_tensors(*(tmp_path / name / "fast-rcnn" / "model.safetensors" for name in "cd"))
    assert record.measured("fast-rcnn").AP == straight.measured("fast-rcnn").AP
    assert [(row["epoch"], row["split"]) for row in rows_of(tmp_path / "c" / "fast-rcnn")] == [
        (epoch, split) for epoch in (1, 2) for split in ("train", "val")
    ]


def test_given_runs_are_measured_and_not_trained(whole, voc, tmp_path):
    given = {method: whole[0] / method for method in ("sppnet", "fast-rcnn")}
    files = {file: file.stat().st_mtime_ns for run in given.values() for file in run.rglob("*")}
    record, sections = some(whole, tmp_path / "c", voc, methods=tuple(given), given=given, sets_for={})
    assert {file: file.stat().st_mtime_ns for run in given.values() for file in run.rglob("*")} == files
    assert record.measured("sppnet").AP == whole[1].measured("sppnet").AP
    assert record.trained("sppnet").seconds == whole[1].trained("sppnet").seconds
    assert not [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    assert section(sections, "speed-up").table.rows[0][1:5] == (None,) * 4  # there is no R-CNN to compare with


def test_the_command_compares_shows_and_overwrites(whole, voc, tmp_path, capsys):
    words = f"compare {voc} --out {tmp_path}/c --methods fast-rcnn,faster-rcnn --backbone small --device cpu".split()
    words += ["--backbone-weights", "none", "--timed", "1", "--proposals", str(regions_of(whole))]
    words += ["--run", f"fast-rcnn={whole[0] / 'fast-rcnn'}", "--svd", "--epochs", "1", "--precision", "fp32"]
    words += [word for text in SETS for word in ("--set", text)]
    assert main([*words, "--set-for", "faster-rcnn:training.lr=0.002"]) == 0
    shown = capsys.readouterr().out
    assert "Truncated SVD" in shown
    assert "paper: " in shown
    assert main(words) == 2
    assert "exists; pass --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 2  # with another rate
    error = capsys.readouterr().err
    assert "faster-rcnn.training.lr is 0.001" in error
    assert "; add --set-for faster-rcnn:training.lr=0.002, or begin anew" in error
    words[words.index("--backbone-weights") + 1] = str(whole[0] / "fast-rcnn" / "model.safetensors")
    assert main([*words, "--resume"]) == 2
    assert "--backbone-weights none, or begin anew with --overwrite" in capsys.readouterr().err
    words[words.index("--backbone-weights") + 1] = "none"
    (tmp_path / "c" / "notes.txt").touch()
    for name in ("fast-rcnn-frozen-1", "fast-rcnn-mine"):
        shutil.copytree(whole[0] / "fast-rcnn-frozen-1", tmp_path / "c" / name)
    record = read_record(tmp_path / "c" / "compare.json")
    assert record.begun == ["faster-rcnn"]
    record.model_copy(update={"begun": ["faster-rcnn", "fast-rcnn-frozen-1"]}).write(tmp_path / "c" / "compare.json")
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "c" / "notes.txt").is_file()
    assert not (tmp_path / "c" / "fast-rcnn-frozen-1" / "last.safetensors").exists()  # of a study not asked for now
    assert (tmp_path / "c" / "fast-rcnn-mine" / "last.safetensors").exists()  # no comparison has begun it
    assert rows_of(tmp_path / "c" / "faster-rcnn")[0]["lr"] < 0.002


WRONG = {
    "method": ("--methods rcnn,yolo", "--methods yolo: no such method; choose from rcnn, sppnet"),
    "none": ("--methods ,", "--methods: names none"),
    "backbone": ("--backbone vgg99", "--backbone: no backbone 'vgg99' (did you mean vgg19?)"),
    "weights": ("--backbone zf", "--backbone zf: no pretrained weights of it can be downloaded"),
    "no file": ("--backbone zf --backbone-weights nowhere.pth", "nowhere.pth: no such file"),
    "run form": ("--run fast-rcnn", "--run fast-rcnn: not METHOD=RUN; write it like --run fast-rcnn="),
    "run missing": ("--run fast-rcnn={tmp}/none", "no such folder"),
    "run of another method": ("--run fast-rcnn={out}/sppnet", "its method is sppnet"),
    "run on another backbone": ("--run fast-rcnn={out}/fast-rcnn", "its backbone is small and"),
    "run not compared": ("--methods rcnn --run fast-rcnn={out}/fast-rcnn", "--run fast-rcnn: not compared"),
    "run with settings": (
        "--run fast-rcnn={out}/fast-rcnn --backbone small --backbone-weights none --set-for fast-rcnn:lr=1",
        "--set-for fast-rcnn: its run is given",
    ),
    "setting form": (
        "--set-for fast-rcnn.lr=1",
        "--set-for fast-rcnn.lr=1: not METHOD:KEY=VALUE; write it like --set-for fast-rcnn:",
    ),
    "setting": ("--set-for fast-rcnn:rate=1", "no setting rate"),
    "method by setting": ("--set model.method=rcnn", "leave them out"),
    "study": ("--methods faster-rcnn --svm", "--svm: studies rcnn or fast-rcnn; add to --methods"),
    "study named as an option": ("--methods rcnn --proposals-study", "--proposals-study: studies fast-rcnn"),
    "network of timm's": ("--backbone timm:resnet0 --backbone-weights none", "timm has no resnet0"),
    "study of two": ("--methods faster-rcnn --rpn", "--rpn: studies fast-rcnn and faster-rcnn"),
    "nothing to truncate": ("--methods fast-rcnn --svd --set model.head.widths=[]", "--svd: Fast R-CNN's head has no"),
    "exists": ("", "there: exists; pass --resume"),
    "both": ("--resume --overwrite", "--resume and --overwrite: give one of them"),
    "nothing to resume": ("--resume", "compare.json: No such file"),
    "no proposals": ("--proposals gone.safetensors", "gone.safetensors: no such file; give --proposals a file of"),
    "torn proposals": ("--overwrite --proposals {out}/../torn", "torn: not a whole safetensors file"),
    "proposals of others": ("--overwrite --proposals {out}/../part.json", "has no proposals in"),
    "val split": ("--val-split dev --overwrite", "split 'dev'"),
    "untrainable": (
        "--methods rcnn,fast-rcnn --set-for fast-rcnn:training.scheme=4-step",
        "4-step is no scheme of fast-rcnn",
    ),
    "split": ("--split dev --overwrite", "split 'dev'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_writes_nothing(case, whole, voc, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    (whole[0].parent / "torn").write_text("torn")
    (whole[0].parent / "part.json").write_text('[{"image_id": "train0", "bbox": [1, 1, 9, 9], "score": 1}]')
    line, message = WRONG[case]
    words = line.format(out=whole[0], tmp=tmp_path).split()
    words += ["--backbone-weights", "none"] if "backbone" not in line else []
    assert main(["compare", str(voc), "--out", str(tmp_path / "there"), "--device", "cpu", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rcnn: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_run_of_other_classes_is_refused(whole, tmp_path):
    sample = shape_data(1).splits["train"][0]
    pets = [replace(sample, names=("cat", "dog"))]
    others = DataSet({"train": pets, "val": pets, "test": pets}, ("cat", "dog"))
    with pytest.raises(ConfigError, match="knows the classes disc, square, and the data has cat, dog"):
        some(whole, tmp_path / "c", others, methods=("fast-rcnn",), given={"fast-rcnn": whole[0] / "fast-rcnn"})


def test_the_papers_networks_begin_with_the_papers_presets(tmp_path):
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16", epochs=3))
    assert [config.model.backbone for config in plan.configs.values()] == ["vgg16"] * 4
    assert plan.configs["fast-rcnn"].model.frozen_stages == 2
    assert all(config.training.iterations == 0 and config.training.epochs == 3 for config in plan.configs.values())
    whole_length = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16"))
    assert whole_length.configs["faster-rcnn"].training.rpn_iterations == 80_000


def test_five_scales_stand_to_the_short_side_as_the_papers():
    assert scales_of("sppnet", 688) == scales_of("fast-rcnn", 600) == [480, 576, 688, 864, 1200]
    assert scales_of("fast-rcnn", 300) == [240, 288, 344, 432, 600]


def test_a_piece_comes_after_what_it_needs():
    names = {"c": ("b", "a"), "b": ("a",), "a": ()}
    pieces = [Piece(name, needs, lambda bench: None) for name, needs in names.items()]
    assert [piece.name for piece in in_order([*pieces, *pieces])] == ["a", "b", "c"]
    with pytest.raises(KeyError, match="b"):
        in_order(pieces[:1])


@pytest.mark.parametrize("method", METHODS)
def test_phases_are_those_of_a_picture(method, whole, voc):
    out, _, _ = whole
    detector = api.load(out / method, "cpu")
    samples = api.evaluation_samples(detector, api.read_data(voc), "test", None, out / "proposals.safetensors")
    found = phase_seconds(detector, samples, repeats=1)
    assert min(found.reading, found.convolutions, found.regions) > 0
    assert (found.proposals is None) == (method != "faster-rcnn")
    with pytest.raises(ValueError, match="no samples"):
        phase_seconds(detector, [])


def test_regions_from_outside_are_timed_where_the_picture_brings_none(whole, voc):
    detector = api.load(whole[0] / "fast-rcnn", "cpu")
    sample = api.read_data(voc).splits["test"][0]
    assert phase_seconds(detector, [sample], repeats=1).proposals > 0
