"""The contract of all four methods: they train, go on, are measured and predict by the same commands."""

import itertools
import json
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Silent, prepare, rows_of, same_tensors, shape_data, shape_sample, write_voc
from method_variants import METHODS, regions_near, settings_of
from torch.nn.functional import pad

from rcnn import api, build
from rcnn.api import workshop
from rcnn.cli import main
from rcnn.data.loader import Batches
from rcnn.errors import ConfigError, WeightsError
from rcnn.inference import predictor
from rcnn.presets.overrides import override, preset
from rcnn.proposals.files import ProposalTable, write_proposals
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.sample import Sample
from rcnn.structures import Proposals, unpad
from rcnn.training import extraction
from rcnn.training.optim import OptimizerSettings, make_optimizer
from rcnn.training.schemes import Fit
from rcnn.training.session import Stopped

TIMES = ("seconds", "images_per_second", "seconds_waiting_for_data")


@dataclass(frozen=True)
class Trained:
    """A run that nothing interrupted."""

    config: object
    words: list
    data: Path
    proposals: Path | None
    out: Path

    def detector(self):
        return api.load(self.out, "cpu")

    def prepare(self, out, listener=None, **options):
        return prepare(self.data, out, self.config, listener, proposals=self.proposals, **options)


@pytest.fixture(scope="module")
def dataset():
    data = shape_data(3, 1, 3)
    data.splits["train"][1] = shape_sample("train1", objects=0)
    return data


@pytest.fixture(scope="module")
def samples(dataset):
    """The test pictures with their regions."""
    return [replace(sample, proposals=regions_near(sample)) for sample in dataset.splits["test"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory, dataset):
    """The data as files, the regions of all of its pictures beside them."""
    root = tmp_path_factory.mktemp("methods")
    everything = [sample for part in dataset.splits.values() for sample in part]
    boxes = {sample.id: regions_near(sample) for sample in everything}
    boxes["train2"] = boxes["train2"][:0]  # a picture without any proposal
    scores = {name: np.linspace(1, 0, len(rows), dtype=np.float32) for name, rows in boxes.items()}
    write_voc(root / "data", dataset)
    write_proposals(root / "regions.safetensors", ProposalTable("drawn", {}, boxes, scores))
    return root


REPORTED = ("rcnn", "fast-rcnn, svm", "faster-rcnn, 4-step")
"""Of these the report is made too; what it is made of is held for each method elsewhere."""


@pytest.fixture(scope="module", params=METHODS)
def trained(request, place):
    """Each method, trained by the command."""
    settings, out = settings_of(request.param), place / request.param
    proposals = None if request.param.startswith("faster") else place / "regions.safetensors"
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words += ["--preset", "demo", "--backbone-weights", "none", "--device", "cpu"]
    words += ["--proposals", str(proposals)] if proposals else []
    report = [] if request.param in REPORTED else ["--no-report"]
    assert main(["train", str(place / "data"), "--out", str(out), *words, *report]) == 0
    return Trained(override(preset("demo"), None, (), settings), words, place / "data", proposals, out)


def test_losses_fall_in_every_stage(trained, samples, tmp_path, quiet_log):
    prepared = trained.prepare(tmp_path / "run")
    batches = Batches(samples, ("disc", "square"), build.preprocess(trained.config.input), 3, proposals=30)
    batch = next(batches.epoch(1))
    prepared.training.model.eval()  # dropout would hide a small step
    for stage in prepared.training.stages:
        if isinstance(stage, Fit):
            continue
        optimizer = make_optimizer(prepared.training.model, OptimizerSettings("adamw", 3e-3, 0.0, 0.0), stage.trains)
        losses = []
        for _ in range(10):
            losses.append(sum(stage.objective(batch.batch, batch.targets).values()))
            losses[-1].backward()
            optimizer.step()
            prepared.training.model.zero_grad()
        assert losses[-1] < 0.98 * losses[0], stage.name


def test_only_the_last_stage_is_judged(trained):
    rows = rows_of(trained.out)
    assert {row["stage"] for row in rows if "AP" in row} == {rows[-1]["stage"]}


class Stops(Silent):
    """A listener that takes a run down in each of its stages: between them, in a first epoch, and by a signal."""

    def __init__(self):
        self.stage, self.done = "", []

    def stage_started(self, name, number, stages):
        self.stage = name
        if number > 1:
            self.interrupt("begin", KeyboardInterrupt)

    def stepped(self, progress, lr):
        if (progress.epoch, progress.batches) == (1, 2):
            self.interrupt("crash", MemoryError)
        if (progress.epoch, progress.batches) == (2, 1) and (self.stage, "signal") not in self.done:
            self.done.append((self.stage, "signal"))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # Python calls the handler between two of its instructions

    def interrupt(self, what, error):
        if (self.stage, what) not in self.done:
            self.done.append((self.stage, what))
            raise error


def test_a_run_that_is_stopped_in_every_stage_ends_bitwise_the_same(trained, tmp_path, monkeypatch, quiet_log):
    stops, extract, ridge = Stops(), workshop.extract, workshop.train_regressors

    def extract_some(*arguments):
        *rest, _ = arguments
        extract(*rest, lambda done, of: stops.interrupt("features", KeyboardInterrupt) if done == 2 else None)

    def regress(*arguments):
        stops.interrupt("solving", KeyboardInterrupt)
        return ridge(*arguments)

    clock = itertools.count(step=500)  # seconds a picture
    monkeypatch.setattr(extraction, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(workshop, "extract", extract_some)
    monkeypatch.setattr(workshop, "train_regressors", regress)
    out, starts = tmp_path / "run", 0
    while True:
        try:
            trained.prepare(out, stops, resume=starts > 0).training.run()
            break
        except (Stopped, KeyboardInterrupt, MemoryError):
            starts += 1
    stages = list(dict.fromkeys(row["stage"] for row in rows_of(out)))
    told = {row["stage"]: row["seconds"] for row in rows_of(out) if "seconds" in row}
    assert 1000 <= told.get("svm", 1000) < 2000  # what the process did that was stopped counts, and once
    learned = [stage for stage in stages if stage not in ("svm", "ridge")]
    wanted = {(stage, "begin") for stage in stages[1:]}
    wanted |= {(stage, what) for stage in learned for what in ("crash", "signal")}
    wanted |= {("svm", "features")} if "svm" in stages else set()
    wanted |= {("ridge", "solving")} if "ridge" in stages else set()
    assert set(stops.done) == wanted
    assert starts == len(wanted)
    assert same_tensors(out / "model.safetensors", trained.out / "model.safetensors")
    assert same_tensors(out / "last.safetensors", trained.out / "last.safetensors")
    assert rows_of(out, *TIMES) == rows_of(trained.out, *TIMES)
    assert not (out / "initial.safetensors").exists()
    assert not (out / "features.bin").exists()


def test_a_run_that_has_ended_stays_as_it_is(trained, quiet_log):
    before = {file.name: file.read_bytes() for file in trained.out.iterdir() if file.is_file()}
    trained.prepare(trained.out, resume=True).training.run()
    assert {file.name: file.read_bytes() for file in trained.out.iterdir() if file.is_file()} == before


def test_a_state_from_before_the_svms_are_solved_for_is_no_detector(trained, tmp_path):
    if trained.config.model.head.classifier != "svm":
        pytest.skip("every state of it is a detector")
    tensors, metadata = read_tensors(trained.out / "last.safetensors")
    write_tensors(tmp_path / "last.safetensors", tensors, metadata | {"stage": 1})
    with pytest.raises(WeightsError, match=r"1 of [23] stages are done, .* go on with rcnn train --resume"):
        api.load(tmp_path / "last.safetensors", "cpu")
    assert api.load(trained.out, "cpu", which="last").class_names == api.load(trained.out, "cpu").class_names


def test_the_commands_measure_and_predict(trained, tmp_path, monkeypatch, quiet_log):
    monkeypatch.setattr(predictor, "find", lambda picture, *_: regions_near(Sample("found", picture)))
    regions = ["--proposals", str(trained.proposals)] if trained.proposals else []
    out, numbers, found = trained.out, tmp_path / "numbers.json", tmp_path / "found.json"
    common = ["--device", "cpu", "--batch", "2"]
    assert main(["evaluate", str(out), str(trained.data), "--json", str(numbers), *common, *regions]) == 0
    assert 0 <= json.loads(numbers.read_text())["AP"] <= 1
    pictures = str(trained.data / "JPEGImages" / "test*.png")
    words = ["--out", str(tmp_path / "drawn"), "--json", str(found), "--score", "0.01"]
    assert main(["predict", str(out), pictures, *words, *common]) == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    assert {row["category_name"] for row in json.loads(found.read_text())} <= {"disc", "square"}


def test_any_number_of_proposals_is_looked_at(trained, tmp_path, quiet_log):
    every = {"model.detections.score": 0.0, "model.detections.nms": 1.0, "model.detections.maximum": 1000}
    tensors, metadata = read_tensors(trained.out / "model.safetensors")
    metadata["config"] = override(trained.config, None, (), every).model_dump(mode="json")
    write_tensors(tmp_path / "all.safetensors", tensors, metadata)
    regions = ["--proposals", str(trained.proposals)] if trained.proposals else []
    picture, found = str(trained.data / "JPEGImages" / "test0.png"), tmp_path / "found.json"
    counts = []
    for number in ([], ["--max-proposals", "3"]):
        words = [str(tmp_path / "all.safetensors"), picture, "--out", str(tmp_path / "drawn"), "--json", str(found)]
        assert main(["predict", *words, "--score", "0", "--device", "cpu", *regions, *number]) == 0
        counts.append(len(json.loads(found.read_text())))
    assert counts[1] <= 3 * 2 < counts[0]


def test_a_trained_detector_keeps_the_contract(trained, samples, quiet_log):
    assert_detector(trained.detector(), samples)
    assert_detections(trained.detector(), api.load(trained.out / "model.safetensors", "cpu"), samples)


def test_an_existing_run_is_refused_or_overwritten(trained, samples, tmp_path, quiet_log):
    with pytest.raises(ConfigError, match="exists; pass --resume"):
        trained.prepare(trained.out)
    out = tmp_path / "run"
    stray = {out / "features.bin": b"old", out / "proposals-2-detector.safetensors": b"old", out / "mine.txt": b"mine"}
    out.mkdir()
    for file, content in stray.items():
        file.write_bytes(content)
    config = override(trained.config, None, (), {"training.epochs": 1})
    training = replace(trained, config=config).prepare(out, overwrite=True, val_split="none").training
    assert [file.name for file in stray if file.exists()] == ["mine.txt"]
    training.run()
    assert {row["split"] for row in rows_of(out)} == {"train"}
    assert len(list(api.load(out, "cpu").predict(samples[0]))) == 1


def assert_detections(one, other, samples):
    """Both detectors find the same."""
    for first, second in zip(one.predict(samples), other.predict(samples), strict=True):
        assert torch.equal(first.boxes, second.boxes)
        assert torch.equal(first.scores, second.scores)
        assert torch.equal(first.labels, second.labels)


def assert_detector(detector, samples):
    """What a user may rely on, whatever the method."""
    without_suppression(detector)
    assert_batched_is_single(detector, samples)
    assert_padding_is_nothing(detector, samples)
    assert_empty_pictures_work(detector, samples[0])
    if detector.proposer is not None:
        assert_any_number_of_proposals(detector, samples[0])
        assert_invalid_proposals_are_never_detected(detector, samples)


def assert_near(found, expected):
    """The same detections, in any order: regions of the same cells have the same score, but for the last bit."""
    assert len(found) == len(expected)
    rows = [torch.cat((d.boxes, 1e3 * d.scores[:, None], 1e6 * d.labels[:, None]), dim=1) for d in (found, expected)]
    gaps = torch.cdist(*(part.double() for part in rows), p=torch.inf)  # 0.01 is 1e-5 of a score, or 0.01 of a pixel
    assert gaps.numel() == 0 or max(gaps.amin(0).max(), gaps.amin(1).max()) < 0.01


def without_suppression(detector):
    """The same detector keeping all that it finds: which of two equal scores goes first does not matter then."""
    model = detector.model
    model.postprocess = replace(model.postprocess, nms=1.0, detections=1000, score=0.01, per_class=0)
    return detector


def assert_batched_is_single(detector, samples):
    few = [samples[0], replace(samples[1], proposals=samples[1].proposals[:5]), samples[2]]
    together = list(detector.predict(few, batch=3))
    assert sum(map(len, together)) > 0
    for found, sample in zip(together, few, strict=True):
        assert_near(found, next(detector.predict(sample)))
        assert ((found.boxes >= 0) & (found.boxes <= torch.tensor(sample.picture.shape[1::-1]).repeat(2))).all()


def batch_of(detector, samples, count):
    most = detector.proposer.most if detector.proposer else 0
    batches = Batches(samples, detector.class_names, detector.preprocess, count, shuffle=False, proposals=most)
    return next(batches.epoch(0)).batch


def assert_padding_is_nothing(detector, samples):
    """Neither places beside a picture nor canvas or regions beyond it change what is found in it."""
    alone, filled = (batch_of(detector, samples[:1], count) for count in (1, 3))
    wider = replace(filled, images=pad(filled.images, (0, 32, 0, 32)))
    if filled.proposals:
        regions = filled.proposals
        more = pad(regions.boxes, (0, 0, 0, 9), value=7.0), pad(regions.scores, (0, 9)), pad(regions.valid, (0, 9))
        filled = replace(filled, proposals=Proposals(*more))
    expected = unpad(detector.detect(alone), detector.class_names)[0]
    assert len(expected) > 0
    assert_near(unpad(detector.detect(filled), detector.class_names)[0], expected)
    assert not detector.detect(wider).boxes[0].gt(80).any(), "a larger canvas changes features, but shows nothing more"


def assert_empty_pictures_work(detector, sample):
    blank = Sample("blank", np.full((64, 80, 3), 110, np.uint8), proposals=np.zeros((0, 4), np.float32))
    nothing = replace(sample, proposals=np.zeros((0, 4), np.float32))
    for found in detector.predict([blank, nothing, sample], batch=3):
        assert torch.isfinite(found.boxes).all()
        assert torch.isfinite(found.scores).all()
    if detector.proposer is not None:
        assert [len(found) > 0 for found in detector.predict([blank, nothing, sample], batch=3)] == [False, False, True]


def assert_any_number_of_proposals(detector, sample):
    """The first so many are looked at, however many there are."""
    for count in (1, 7, 30, 100):
        many = np.tile(sample.proposals, (8, 1))[:count]
        found = next(detector.predict(replace(sample, proposals=many)))
        expected = next(detector.predict(replace(sample, proposals=many[: detector.proposer.most])))
        assert torch.equal(found.boxes, expected.boxes)


def assert_invalid_proposals_are_never_detected(detector, samples):
    batch = batch_of(detector, samples[:2], 2)
    regions = batch.regions
    hidden = torch.arange(regions.valid.shape[1]) % 2 == 0
    valid = regions.valid & ~hidden
    moved = torch.where(hidden[:, None], torch.tensor([1.0, 2.0, 40.0, 50.0]), regions.boxes)
    few, other = (
        detector.detect(replace(batch, proposals=Proposals(boxes, regions.scores, valid)))
        for boxes in (regions.boxes, moved)
    )
    assert few.valid.any()
    for found, expected in zip(*(unpad(d, detector.class_names) for d in (few, other)), strict=True):
        assert_near(found, expected)
    none = detector.detect(replace(batch, proposals=Proposals(moved, regions.scores, valid & False)))
    assert not none.valid.any()


def test_without_a_file_regions_are_searched_for(tmp_path, monkeypatch, quiet_log):
    monkeypatch.setenv("RCNN_CACHE", str(tmp_path / "cache"))
    data, out = write_voc(tmp_path / "data", shape_data(1, 0)), tmp_path / "run"
    sets = [word for key, value in settings_of("fast-rcnn").items() for word in ("--set", f"{key}={value}")]
    words = ["--preset", "demo", "--backbone-weights", "none", "--device", "cpu", "--val-split", "none", *sets]
    assert main(["train", str(data), "--out", str(out), *words]) == 0
    assert main(["evaluate", str(out), str(data), "--split", "train", "--device", "cpu"]) == 0
    assert main(["predict", str(out), str(data / "JPEGImages"), "--out", str(tmp_path / "drawn")]) == 0
