"""`rcnn bench`: nothing is timed before it agrees, and what was measured is written down."""

import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import tiny_config
from torch import Tensor
from torchvision_random import MOBILE_320

from rcnn.agreement import matched, near, same
from rcnn.bench import parts, results, scale, wait
from rcnn.bench.cases import case_of, cases_of
from rcnn.bench.evaluate import evaluate_case, made_up
from rcnn.bench.harness import Case, Effort, Row, Way, race
from rcnn.bench.load import load_case
from rcnn.bench.machine import Machine, this_machine
from rcnn.bench.memory import working_memory
from rcnn.bench.ops import (
    matching_case,
    nms_case,
    random_boxes,
    roi_align_cases,
    roi_pool_cases,
    seeded,
    spp_cases,
)
from rcnn.bench.pictures import jpegs
from rcnn.bench.pooling import Pooling, pooling_cases
from rcnn.bench.predict import Work, predict_case
from rcnn.bench.results import Result, record, table
from rcnn.bench.train import train_case
from rcnn.bench.wait import wait_case
from rcnn.cli import main
from rcnn.cli.commands.bench import chosen_parts
from rcnn.data.preprocess import Preprocess
from rcnn.errors import DisagreementError
from rcnn.evaluation import evaluate
from rcnn.ops import roi_pool
from rcnn.structures import Detections

CPU = torch.device("cpu")
AXES = (("first", (1, 2)), ("second", (10, 20)))


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only while a way works: each call of the function that it gives takes so long."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def taking(*seconds):
        left = list(seconds)

        def work():
            now[0] += left.pop(0) if len(left) > 1 else left[0]

        return work

    return taking


def made_case(*ways, check=lambda: "the same"):
    return Case("a case", tuple(Way(f"way {n}", run, wanted) for n, (run, wanted) in enumerate(ways)), check)


def test_ways_are_timed_in_turn_and_held_against_the_first_round_by_round(clock):
    # The first run of each warms up; the machine is twice as slow in the second round.
    rows = race(made_case((clock(9, 2, 4, 2), None), (clock(9, 1, 2, 0.5), 3.0)), Effort(rounds=3), CPU)
    first, second = rows
    assert (first.median, first.least, first.most, first.ratio) == (2, 2, 4, 1)
    assert (second.median, second.ratio, second.ratio_least, second.ratio_most) == (1, 2, 2, 4)
    assert not second.reached
    assert first.reached


def test_slow_cases_end_early_but_not_before_three_rounds(clock):
    assert race(made_case((clock(40), None)), Effort(rounds=20, seconds=60), CPU)[0].rounds == 3
    assert race(made_case((clock(10), None)), Effort(rounds=20, seconds=60), CPU)[0].rounds == 6
    assert race(made_case((clock(1), None)), Effort(rounds=20, seconds=60), CPU)[0].rounds == 20


def test_what_does_not_agree_is_not_timed(clock):
    ran = []

    def check():
        same(torch.zeros(3), torch.tensor([0.0, 1, 0]), "values")

    with pytest.raises(DisagreementError, match="a case: the ways do not agree, so none is timed: values: 1 of 3"):
        race(made_case((lambda: ran.append(1), None), check=check), Effort(), CPU)
    assert ran == []


def test_results_are_compared_without_the_rounding_of_a_gpus_convolutions(clock):
    def check():
        assert not torch.backends.cudnn.allow_tf32
        raise AssertionError("differs")

    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(DisagreementError, match="differs"):
        race(Case("work", [Way("one", lambda: None)], check), Effort(), torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_command_ends_with_status_1_where_ways_differ(monkeypatch, tmp_path, capsys):
    def red():
        raise AssertionError("boxes: 2 of 9 values differ")

    cases = [made_case((lambda: None, None)), made_case(check=red), made_case((lambda: None, None))]
    monkeypatch.setattr("rcnn.cli.bench.cases_of", lambda part, against: lambda device: iter(cases))
    words = ["bench", "ops", "--device", "cpu", "--rounds", "1", "--json", str(tmp_path / "all.json")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error == "rcnn: a case: the ways do not agree, so none is timed: boxes: 2 of 9 values differ\n"
    assert len(json.loads((tmp_path / "all.json").read_text())["results"][0]["rows"]) == 2  # the others are kept


def test_nearness_is_told_as_a_share_of_the_largest_value():
    assert near(torch.tensor([100.0, 1.0]), torch.tensor([100.0, 2.0]), 0.02, "x") == pytest.approx(0.01)
    with pytest.raises(AssertionError, match=r"x: differs by 1\.0e-02 of the largest value, allowed 1e-03"):
        near(torch.tensor([100.0, 1.0]), torch.tensor([100.0, 2.0]), 1e-3, "x")
    with pytest.raises(AssertionError, match="differs by nan"):
        near(torch.tensor([torch.nan]), torch.ones(1), 1.0, "x")
    with pytest.raises(AssertionError, match=r"shape \(2,\) against \(1,\)"):
        near(torch.ones(2), torch.ones(1), 1.0, "x")


SMALL = {
    "nms": lambda: [nms_case(300, CPU, 2, 100)],
    "matching": lambda: [matching_case(CPU, 1, 3)],
    "roi_align": lambda: roi_align_cases(CPU, 20, 8),
    "roi_pool": lambda: roi_pool_cases(CPU, 20, 8),
    "spp": lambda: spp_cases(CPU, 5, 8),
    "train": lambda: [train_case(Work(MOBILE_320, (96, 128), batch=2), 3, {}, CPU)],
    "predict": lambda: [predict_case(Work(MOBILE_320, (320, 480), batch=2), {}, CPU)],
}


@pytest.mark.parametrize("name", SMALL)
def test_what_is_raced_agrees(name):
    for case in SMALL[name]():
        assert case.check()
        assert len(case.ways) >= 2


@pytest.mark.parametrize("method", ["fast-rcnn", "faster-rcnn"])
def test_a_step_is_held_against_what_prepares_it(tmp_path, method):
    config = tiny_config(batch=2)
    model = config.model.model_copy(update={"method": method, "norm": "frozen"})
    case = wait_case("tiny", config.model_copy(update={"model": model}), jpegs(tmp_path, 2, 480, 640), CPU)
    assert case.check() in ("fp32", "bf16")
    step, prepare = case.ways
    step.run()
    batch = prepare.run()
    assert len(batch.indices) == 2
    assert (batch.batch.proposals is not None) == (method == "fast-rcnn")


@pytest.mark.parametrize(
    "wrong", [lambda pooled: 1.1 * pooled, lambda pooled: pooled.flip(2), lambda pooled: pooled.roll(1, 0)]
)
def test_a_wrong_operator_is_found_by_its_values_and_by_its_gradient(wrong):
    plain, boxes = torch.rand(1, 8, 12, 14), random_boxes(1, 5, (192, 224), seeded(0))
    levels = torch.zeros(1, 5, dtype=torch.int64)

    def pool(maps: list[Tensor]) -> Tensor:
        return roi_pool(maps, boxes, levels, (16,), 3)

    right = list(pooling_cases(Pooling("pool", "other", pool, pool, [plain]), both=1))
    assert right[1].check().startswith("0e+00 and")
    for case in pooling_cases(Pooling("pool", "other", pool, lambda maps: wrong(pool(maps)), [plain]), both=1):
        with pytest.raises(AssertionError, match="differs by"):
            case.check()


def test_boxes_lie_on_the_canvas_and_have_sides():
    boxes = random_boxes(2, 200, (100, 160), seeded(0))
    assert boxes.shape == (2, 200, 4)
    assert bool((boxes[..., 2:] > boxes[..., :2]).all())
    assert bool((boxes[..., 2:] <= torch.tensor([160.0, 100.0])).all())


def row(**changes):
    numbers = {"median": 0.5, "least": 0.4, "most": 0.6, "ratio": 2.0, "ratio_least": 1.0, "ratio_most": 3.0}
    return Row(
        **{"case": "c", "way": "w", **numbers, "wanted": 4, "rounds": 3, "agreement": "a", "facts": {}} | changes
    )


def machine(processor="P", commit="abc"):
    versions = {"torch": "2", "torchvision": "0"}
    return Machine(processor, 2, 2, "cpu", "Linux", "3.11", versions, commit)


def test_a_result_takes_the_place_of_an_older_one_of_its_machine_alone(tmp_path):
    page = tmp_path / "RESULTS.md"
    page.write_text("# Measured\n\nBy hand.\n\n## P, 2 cores; torch 2, torchvision 0\n\n### By hand\n\nstays\n")
    record(page, Result("ops", "rcnn bench ops", machine(), [row(median=0.001)]))
    record(page, Result("ops", "rcnn bench ops", machine("Q"), [row(median=0.002)]))
    record(page, Result("ops", "rcnn bench ops", machine(commit="def"), [row(median=0.003)]))
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Measured",
        "## P, 2 cores; torch 2, torchvision 0",
        "### By hand",
        "### rcnn bench ops, 2 threads",
        "## Q, 2 cores; torch 2, torchvision 0",
        "### rcnn bench ops, 2 threads",
    ]
    assert "By hand." in text
    assert "stays" in text
    assert " 1.0 |" not in text
    assert text.index(" 3.0 |") < text.index(" 2.0 |")
    assert "`rcnn bench ops`, commit def." in text
    before = text
    record(page, Result("ops", "rcnn bench ops", machine(commit="def"), [row(median=0.003)]))
    assert page.read_text() == before


def test_a_goal_that_was_missed_is_said():
    assert "4 (missed)" in table([row(ratio=3.9)])
    assert "missed" not in table([row(ratio=4.0), row(wanted=None)])
    assert "c, 1,234 boxes" in table([row(facts={"boxes": 1234})])


def test_the_command_writes_all_numbers_and_the_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["rcnn", "bench", "ops", "--rounds", "1", "--json", "x", "--results=y"])
    cases = lambda device: iter([matching_case(device, 1, 2)])  # noqa: E731
    monkeypatch.setattr("rcnn.cli.bench.cases_of", lambda part, against: cases)
    words = ["bench", "ops", "--rounds", "1", "--device", "cpu", "--threads", "1"]
    files = {"--json": tmp_path / "new" / "all.json", "--results": tmp_path / "page.md"}
    assert main([*words, *(str(word) for pair in files.items() for word in pair)]) == 0
    (part,) = json.loads(files["--json"].read_text())["results"]
    assert part["command"] == "rcnn bench ops --rounds 1"
    assert [one["way"] for one in part["rows"]] == ["torchvision box_iou, Matcher", "rcnn"]
    assert part["machine"]["threads"] == 1
    assert "times as fast" in capsys.readouterr().out
    page = files["--results"].read_text()
    assert "### rcnn bench ops, 1 thread\n\n`rcnn bench ops --rounds 1`, commit " in page
    assert re.search(r"\| matching, 1 picture of 2 objects, [\d,]+ anchors \| torchvision box_iou, Matcher \|", page)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells the memory")
def test_memory_is_told_of_ways_that_read_files():
    assert working_memory("load", "torchvision", 0, 0, CPU) > 1


def test_a_case_of_growth_is_made_without_those_before_it(monkeypatch):
    made = []
    axes = {axis: (sizes, lambda n, device: made.append(n) or evaluate_case(*made_up(2, 1))) for axis, sizes in AXES}
    monkeypatch.setattr(scale, "AXES", axes)
    monkeypatch.setattr(scale, "PLACES", [(axis, size) for axis, sizes in AXES for size in sizes])
    (alone,) = case_of("scale", "torchvision", 3, CPU)
    assert made == [20]
    assert alone.name == [case.name for case in scale.cases(CPU)][3] == "second: 20"


def test_parts_that_keep_memory_are_measured_last_and_lacking_packages_are_told_first(monkeypatch, capsys):
    assert chosen_parts(["wait", "ops", "train"], "torchvision") == ["ops", "train", "wait"]
    assert chosen_parts([], "torchvision") == list(parts.PARTS)
    monkeypatch.setattr(
        "rcnn.cli.commands.bench.find_spec", lambda name: None if name in ("onnx", "openvino") else name
    )
    assert "engines" not in chosen_parts([], "torchvision")
    assert capsys.readouterr().err == "rcnn: engines: left out, for it needs onnx, openvino\n"
    assert main(["bench", "engines"]) == 2
    assert capsys.readouterr().err == "rcnn: engines: needs onnx, openvino; pip install onnx openvino\n"


def test_seconds_may_be_wanted_too():
    assert "| 4, 300 ms (missed) |" in table([row(ratio=5.0, within=0.3)])
    assert "| 4, 800 ms |" in table([row(ratio=5.0, within=0.8)])


def test_a_part_that_is_none_is_refused(capsys):
    assert main(["bench", "opps"]) == 2
    assert capsys.readouterr().err == f"rcnn: opps: no part of the benchmark; choose from {', '.join(parts.PARTS)}\n"


@pytest.mark.parametrize("option", ["--json", "--results"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(option, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rcnn.cli.bench.cases_of", lambda part, against: pytest.fail("something is measured"))
    (tmp_path / "file").touch()
    assert main(["bench", "ops", "--device", "cpu", option, str(tmp_path / "file" / "page.md")]) == 2
    assert capsys.readouterr().err.startswith(f"rcnn: {option} {tmp_path / 'file' / 'page.md'}: cannot be written (")


def test_every_part_makes_its_first_case_where_that_is_quick():
    for part in ("ops", "load", "evaluate", "start"):
        assert next(cases_of(part)(CPU)).ways[-1].wanted


def test_the_part_of_training_that_waits_is_told_without_and_with_a_worker():
    def pair(name, step, data):
        return [row(case=f"wait, {name}", way=way, median=one) for way, one in (("step", step), ("data", data))]

    (said,) = wait.notes([*pair("quick, stage joint", 1.0, 3.0), *pair("slow, stage joint", 3.0, 1.0)])
    assert said.endswith(": quick, stage joint: 75.0% / 66.7%; slow, stage joint: 25.0% / 0.0%.")


def test_a_machine_is_told_from_others():
    here = this_machine(CPU)
    assert here.title.count(";") == 1
    assert torch.__version__.split("+")[0] in here.title
    assert here.commit
    assert results.Result("ops", "", here, []).title.startswith("rcnn bench ops, ")


def test_a_batch_of_files_is_torchvisions_or_not_timed(tmp_path, monkeypatch):
    case = load_case(jpegs(tmp_path, 2, 30, 40), (30, 40), Preprocess(32, 64, "exact32"), CPU)
    assert float(case.check()) < 1e-5
    monkeypatch.setattr(Preprocess, "_levels", lambda self: np.zeros((256, 3), np.float32))
    with pytest.raises(AssertionError, match="pixels: differs by"):
        case.check()


def test_evaluation_is_pycocotools_or_not_timed(monkeypatch):
    case = evaluate_case(*made_up(6, 3))
    assert case.check().startswith("the same twelve numbers, AP 0.")
    wrong = evaluate(*made_up(6, 3), "coco")
    wrong.metrics["AP75"] += 1e-9
    monkeypatch.setattr("rcnn.bench.evaluate.evaluate", lambda *_: wrong)
    with pytest.raises(AssertionError, match="AP75 differ from pycocotools"):
        case.check()


def test_detections_match_by_class_corners_and_score():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    one = Detections(boxes, torch.tensor([0.9, 0.5]), torch.tensor([1, 2]), ())
    other = Detections(boxes + 1, torch.tensor([0.9, 0.45]), torch.tensor([1, 2]), ())
    assert matched(one, one, 1.0, 0.01, 1e-4) == 1
    assert matched(one, other, 0.5, 1.0, 0.01) == 0.5
    with pytest.raises(AssertionError, match="only 50% of the detections are the same, wanted 98%"):
        matched(one, other, 0.98, 1.0, 0.01)
    with pytest.raises(AssertionError, match="only 0%"):
        matched(one, other, 0.98, 0.5, 0.1)
    with pytest.raises(AssertionError, match="only 0%"):
        matched(one, Detections(boxes[:0], torch.zeros(0), torch.zeros(0, dtype=torch.int64), ()), 0.1, 1, 1)
    twice = Detections(*(torch.cat((part, part)) for part in (one.boxes, one.scores, one.labels)), ())
    assert matched(twice, one, 0.5, 1, 1) == 0.5


def line_count(plot):
    """Drawn lines of a marker a size."""
    points = "{http://www.w3.org/2000/svg}use"
    lines = (group for group in plot if group.get("id", "").startswith("line2d_"))
    return sum(len(list(line.iter(points))) == 4 for line in lines)


def test_growth_is_told_over_the_three_largest_sizes_and_quadratic_growth_fails(tmp_path):
    sizes = (10, 100, 200, 400)
    rows = [
        row(case=f"{axis}: {size:,}", way=way, median=size**power / 1e6, memory=float(size))
        for axis, power in (("classes", 1), ("objects", 2), (scale.SIDES, 2))
        for size in sizes
        for way in ("torchvision", "rcnn")
    ]
    powers = {(curve.axis, curve.way): curve.power for curve in scale.curves(rows)}
    assert powers["classes", "rcnn"] == pytest.approx(1)
    assert powers["objects", "torchvision"] == pytest.approx(2)
    assert powers[scale.SIDES, "rcnn"] == pytest.approx(1), "a picture's area grows with the square of its side"
    assert [failure.partition(",")[0] for failure in scale.failures(rows)] == ["objects"]
    assert "objects, rcnn: 2.00" in scale.notes(rows)[0]
    scale.draw(rows, tmp_path / "scale.svg")
    drawn = ElementTree.parse(tmp_path / "scale.svg").getroot()
    plots = [group for group in drawn.iter("{http://www.w3.org/2000/svg}g") if group.get("id", "").startswith("axes_")]
    assert len(plots) == 3 * 2, "an axis each, time above memory"
    assert all(line_count(plot) >= 2 for plot in plots), "a line a way"


def test_what_is_not_measured_against_a_library_or_is_not_installed_is_told_before_anything_runs(capsys):
    assert main(["bench", "train", "--against", "detectron2", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "rcnn: train: not measured against detectron2; choose from predict\n"
    if importlib.util.find_spec("detectron2") is None:
        words = ["bench", "--against", "detectron2", "--device", "cpu", "--rounds", "1", "--threads", "1"]
        assert main(words) == 2
        assert "--against detectron2: is not installed" in capsys.readouterr().err
