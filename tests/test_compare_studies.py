"""What each study of `rcnn compare` changes about a detector, and nothing else."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY, shape_data, shape_sample

from rcnn import build
from rcnn.api.compare import Asked, make_plan
from rcnn.api.compare import bench as bench_module
from rcnn.api.compare.bench import Bench, fully_connected, unchanged
from rcnn.api.compare.methods import method_sections
from rcnn.api.compare.pieces import method_pieces, train_piece
from rcnn.api.compare.plan import NUMBERS
from rcnn.api.compare.record import (
    Machine,
    Measured,
    PhaseSeconds,
    Recalled,
    Searched,
    Trained,
    new_record,
    resumed_record,
)
from rcnn.api.compare.studies import STUDIES
from rcnn.api.compare.studies.multi_task import unrefined
from rcnn.api.compare.studies.proposals import at_most
from rcnn.api.compare.studies.rpn import from_rpn
from rcnn.api.compare.studies.svd import truncated
from rcnn.api.compare.studies.svm import by_softmax
from rcnn.api.proposals import rpn_proposals
from rcnn.compression.svd import parameters
from rcnn.errors import ConfigError
from rcnn.inference.predictor import Detector, Proposer
from rcnn.presets.family import METHODS
from rcnn.presets.overrides import override, preset
from rcnn.proposals.files import ProposalTable, write_proposals
from rcnn.report import papers
from rcnn.report.compare import write_page

NAMES = ("disc", "square")
SVM = {"model.head.classifier": "svm", "model.head.box_loss": 0.0, "model.detections.refine": False}
EVERYTHING = {"model.detections.score": 0.0, "model.detections.nms": 1.0, "model.detections.maximum": 1000}


def detector(method="fast-rcnn", **changes):
    """A small detector with random weights that reports every region under every class."""
    settings = TINY | EVERYTHING | {"model.method": method} | changes
    config = build.resolved(override(preset("demo"), None, (), settings), pretrained=False)
    torch.manual_seed(0)
    model, _ = build.detector(config, len(NAMES))
    torch.nn.init.normal_(model.head.bbox_pred.weight, std=0.5)  # so that regions do move
    proposer = None if method == "faster-rcnn" else Proposer("fast", 100)
    return Detector(model, build.preprocess(config.input), NAMES, proposer=proposer)


@pytest.fixture
def samples():
    """Two pictures with ten regions each, best first."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform((0, 0), (60, 44), (2, 10, 2, 2)), axis=2).astype(np.float32)
    boxes = corners.reshape(2, 10, 4) + np.array([0, 0, 12, 12], np.float32)
    return [replace(shape_sample(f"p{n}"), proposals=rows) for n, rows in enumerate(boxes)]


def found(detector, samples):
    return [sorted(map(tuple, one.boxes.round(decimals=2).tolist())) for one in detector.predict(samples)]


def test_without_regression_every_detection_is_a_region(samples):
    whole = detector()
    regions = [sorted(map(tuple, s.proposals.round(2).tolist())) for s in samples for _ in NAMES]
    assert found(whole, samples)[0] != sorted(regions[0] * 2)
    changed, same = unrefined(None, whole, samples)
    assert same is samples
    for boxes, sample in zip(found(changed, samples), samples, strict=True):
        wanted = np.array(sorted(map(tuple, np.repeat(sample.proposals, 2, axis=0).tolist())))
        np.testing.assert_allclose(np.array(boxes), wanted, atol=0.02)


def test_softmax_scores_are_the_networks_own_and_boxes_stay(samples):
    whole = detector(**SVM)
    before, head = found(whole, samples), whole.model.head
    pooled = torch.randn(5, whole.model.backbone.channels, 7, 7)
    machines = head.predict(pooled)
    changed, _ = by_softmax(None, whole, samples)
    scores, deltas = changed.model.head.predict(pooled)
    torch.testing.assert_close(scores, head.cls_score(head.vectors(pooled)).softmax(-1)[:, 1:])
    assert not torch.equal(scores, machines[0])
    assert torch.equal(deltas, machines[1])
    assert found(changed, samples) == before  # every region is reported: only the order may differ


def test_only_the_best_regions_are_looked_at(samples):
    changed, same = at_most(3)(None, detector(), samples)
    assert same is samples
    first = [replace(sample, proposals=sample.proposals[:3]) for sample in samples]
    assert found(changed, samples) == found(detector(), first)
    assert len(found(changed, samples)[0]) == 3 * len(NAMES)


def test_an_rpns_regions_take_the_place_of_those_from_outside(samples):
    other = detector("faster-rcnn", **{"model.rpn.after": 20})
    bench = SimpleNamespace(detector=lambda recipe: other)
    _, attached = from_rpn(SimpleNamespace(base=lambda method: method), 5)(bench, detector(), samples)
    table = rpn_proposals(other, samples, 5)
    for before, after in zip(samples, attached, strict=True):
        assert np.array_equal(after.proposals, table.boxes[before.id])
        assert not np.array_equal(after.proposals, before.proposals[: len(after.proposals)])


def test_truncation_keeps_its_share_of_each_layers_ranks(samples):
    whole = detector()
    before = parameters(fully_connected(whole))
    inputs, width = whole.model.head.pooled_width, whole.model.head.width
    changed, _ = truncated((Fraction(1, 4), Fraction(1, 16)))(None, whole, samples)
    ranks = width // 4, width // 16
    wanted = ranks[0] * (inputs + width) + width + ranks[1] * 2 * width + width
    assert parameters(fully_connected(changed)) == wanted < before
    assert len(found(changed, samples)[0]) == 10 * len(NAMES)


def test_unchanged_changes_nothing(samples):
    whole = detector()
    assert unchanged(None, whole, samples) == (whole, samples)


@pytest.mark.parametrize("backbone", ["alexnet", "caffenet", "vgg-m", "vgg16", "zf"])
def test_every_network_of_the_papers_has_a_plan_that_can_be_trained(backbone, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1)}, weights)
    asked = Asked(backbone=backbone, backbone_weights=weights, studies=tuple(STUDIES))
    plan = make_plan(tmp_path, tmp_path / "c", asked)
    for study in STUDIES.values():
        study.pieces(plan)  # raises for settings that training would refuse
    heads = {method: plan.configs[method].model.head for method in METHODS}
    assert {head.widths for head in heads.values()} == {(4096, 1024) if backbone == "vgg-m" else (4096, 4096)}
    assert {head.pool for head in heads.values()} == {7 if backbone == "vgg16" else 6}


class MadeUp:
    """A bench that measures nothing and knows an answer to everything."""

    def search(self):
        return Searched(file="f", method="selective-search", train_seconds=1.0, test_seconds=1.0, timed=1)

    def train(self, recipe):
        return Trained(run=recipe.name, seconds={"a": 1.0, "b": 2.0}, pictures=3)

    def measure(self, recipe, adapt, timed):
        seconds = PhaseSeconds(reading=0.1, proposals=0.2, convolutions=0.3, regions=0.4)
        per_class = {"boat": 0.25, "raccoon": 0.75}
        return Measured(
            pictures=3, AP=0.2, AP50=0.5, mAP=0.5, per_class=per_class, seconds=seconds, timed=1, head_parameters=9
        )

    def recall(self, recipe, adapt, numbers):
        shares = [0.5] * len(numbers)
        return Recalled(numbers=list(numbers), recall50=shares, average=shares)


def made_up(plan, studies=tuple(STUDIES)):
    """The record of a whole comparison with these studies."""
    studied = [piece for name in studies for piece in STUDIES[name].pieces(plan)]
    pieces = {piece.name: piece for piece in (*method_pieces(plan), *studied)}
    found = {name: (MadeUp().search() if name == "search" else piece.make(MadeUp())) for name, piece in pieces.items()}
    return new_record(plan.settings, torch.device("cpu")).model_copy(update={"pieces": found})


def test_the_papers_numbers_stand_beside_the_classes_of_the_same_name(tmp_path):
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16", methods=("rcnn", "faster-rcnn")))
    record = made_up(plan, ())
    (table,) = [section.table for section in method_sections(plan, record) if section.name == "classes"]
    assert [column.name for column in table.columns if column.paper] == ["R-CNN, % (VGG16)"]
    assert table.rows == (("boat", 25.0, 25.0, 45.4), ("raccoon", 75.0, 75.0, None))
    boats = {"per_class": {"boat": 0.25}}
    alone = {k: one.model_copy(update=boats) if isinstance(one, Measured) else one for k, one in record.pieces.items()}
    sections = method_sections(plan, record.model_copy(update={"pieces": alone}))
    assert "classes" not in {section.name for section in sections}


def test_the_papers_classes_have_the_means_that_they_published():
    for method, classes in papers.PER_CLASS.items():
        assert len(classes) == 20
        assert sum(classes.values()) / 20 == pytest.approx(papers.METHODS[method]["L"].map07, abs=0.051)


@pytest.mark.parametrize("backbone", ["alexnet", "vgg-m", "vgg16", "zf", "resnet18", "timm:resnet10t"])
def test_every_table_can_be_made_whatever_the_network_and_what_was_published_of_it(backbone, tmp_path):
    if backbone.startswith("timm:"):
        pytest.importorskip("timm", reason="needs the extra `timm`")
    plan = make_plan(
        tmp_path, tmp_path / "c", Asked(backbone=backbone, backbone_weights="none", studies=tuple(STUDIES))
    )
    record = made_up(plan)
    sections = [*method_sections(plan, record), *(study.section(plan, record) for study in STUDIES.values())]
    for section in sections:
        own = [place for place, column in enumerate(section.table.columns) if not column.paper]
        assert all(row[place] is not None for row in section.table.filled().rows for place in own[:2]), section.name
    if backbone == "zf":  # of which the papers published the least
        write_page(tmp_path / "page.html", "title", {}, sections)
        assert all(f'id="{section.name}"' in (tmp_path / "page.html").read_text("utf-8") for section in sections)


def test_max_pooling_leaves_exact_joint_training_out(tmp_path):
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16", methods=("faster-rcnn",)))
    names = {piece.name for piece in STUDIES["schemes"].pieces(plan)}
    assert "train faster-rcnn-approximate-joint" in names
    assert not [name for name in names if "exact" in name]
    with pytest.raises(ConfigError, match="max pooling gives boxes no gradient"):
        train_piece(plan.variant("x", "faster-rcnn", {"training.scheme": "exact-joint"}))


def test_precision_is_the_presets_unless_given(tmp_path):
    sets = ["training.precision=bf16"]
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16", sets=sets))
    assert {config.training.precision for config in plan.configs.values()} == {"bf16"}
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16"))
    assert {config.training.precision for config in plan.configs.values()} == {"fp32"}
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone="vgg16", sets=sets, precision="fp32"))
    assert {config.training.precision for config in plan.configs.values()} == {"fp32"}


def test_a_search_says_how_far_it_is(tmp_path, monkeypatch, caplog):
    def search(samples, mode, most, workers, cache, on_picture):
        for _ in samples:
            on_picture()
        boxes = {sample.id: np.zeros((0, 4), np.float32) for sample in samples}
        return ProposalTable("given", {}, boxes, {key: np.zeros(0, np.float32) for key in boxes})

    monkeypatch.setattr(bench_module, "search_proposals", search)
    plan = make_plan(shape_data(10, 2), tmp_path, Asked(backbone_weights="none", split="val"))
    with caplog.at_level("INFO", "rcnn"):
        Bench(plan, None).search()
    assert caplog.messages[0] == "selective search: 2 of 12 pictures"
    assert caplog.messages[-1] == "selective search: 12 of 12 pictures"


def test_methods_that_share_a_search_have_one_mode(tmp_path):
    sets = {"sppnet": ["model.proposals.mode=quality"]}
    with pytest.raises(ConfigError, match="quality of sppnet, fast of fast-rcnn; all methods share one search"):
        make_plan(tmp_path, tmp_path / "c", Asked(backbone_weights="none", sets_for=sets))


def numbers(plan):
    return [int(piece.name.split()[3]) for piece in STUDIES["proposals"].pieces(plan) if piece.name[:4] == "meas"]


def test_as_many_proposals_are_studied_as_there_may_be(tmp_path):
    asked = Asked(backbone_weights="none", methods=("fast-rcnn",))
    assert numbers(make_plan(tmp_path, tmp_path / "c", asked)) == list(NUMBERS["fast"])
    quality = replace(asked, sets=["model.proposals.mode=quality"])
    assert max(numbers(make_plan(tmp_path, tmp_path / "c", quality))) == 10_000
    boxes = {name: np.tile(np.float32([0, 0, 9, 9]), (count, 1)) for name, count in (("a", 250), ("b", 3))}
    file = tmp_path / "given.safetensors"
    write_proposals(file, ProposalTable("x", {}, boxes, {key: np.ones(len(b), np.float32) for key, b in boxes.items()}))
    assert numbers(make_plan(tmp_path, tmp_path / "c", replace(asked, proposals=file))) == [50, 100, 200, 300]


def test_a_comparison_that_goes_on_elsewhere_names_both_machines(tmp_path):
    plan = make_plan(tmp_path, tmp_path / "c", Asked(backbone_weights="none"))
    record = new_record(plan.settings, torch.device("cpu"))
    other = Machine(processor="other", threads=9, device="cpu", system="s", python="3", torch="2")
    assert resumed_record(record, plan.settings, record.machine).other_machines == []
    twice = resumed_record(resumed_record(record, plan.settings, other), plan.settings, other)
    assert twice.other_machines == [other]


def test_a_method_may_join_with_a_run_of_its_own(tmp_path):
    asked = Asked(backbone_weights="none", methods=("sppnet",))
    begun = make_plan(tmp_path, tmp_path / "c", asked).settings
    record = new_record(begun, torch.device("cpu"))
    joined = begun.model_copy(
        update={"given": {"fast-rcnn": "runs/fast"}, "configs": begun.configs | {"fast-rcnn": {"a": 1}}}
    )
    assert set(resumed_record(record, joined, record.machine).settings.configs) == {"sppnet", "fast-rcnn"}
    swapped = begun.model_copy(update={"given": {"sppnet": str(Path("runs/spp"))}})
    with pytest.raises(ConfigError, match="--run sppnet is runs/spp, but the comparison began with None"):
        resumed_record(record, swapped, record.machine)
