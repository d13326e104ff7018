"""Settings of training, each from end to end on shapes: it trains, resumes bitwise, and does what it says."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from conftest import COLOURS, TINY, prepare, rows_of, shape_data, shape_sample, tiny_config
from method_variants import FAST, METHODS, SHORT, regions_near
from test_resume import StopAt, assert_same_run

from rcnn import api
from rcnn.presets.overrides import override, preset
from rcnn.runs.tensors import read_tensors, write_tensors
from rcnn.sample import DataSet
from rcnn.training.averaging import Averaged
from rcnn.training.checkpoint import model_tensors
from rcnn.training.session import Stopped

SETTINGS = {
    "ema": {"ema": 0.9},
    "repeat": {"training.repeat": 1.0},
    "scale jitter": {"scale_jitter": [0.5, 2.0]},
    "crop, zoom and colour": {"iou_crop": 0.4, "zoom_out": 0.4, "colour": 0.8},
    "mosaic": {"mosaic": 0.8, "mosaic_until": 1.0},
    "focal": {"loss.objectness": "focal", "loss.classes": "focal"},
    "giou": {"loss.proposals": "giou", "loss.boxes": "giou"},
    "class weights": {"class_weights": {"disc": 3.0}},
    "ohem": {"loss.regions": "ohem"},
    "fast-rcnn, mosaic and ohem": {"mosaic": 1.0, "mosaic_until": 1.0, "loss.regions": "ohem", "loss.boxes": "giou"},
    "fast-rcnn, measured giou": {"loss.boxes": "giou"},
    "faster-rcnn, exact, giou and ohem": {"loss.boxes": "giou", "loss.regions": "ohem"},
    "rcnn, focal, ema and scale jitter": {"ema": 0.9, "loss.classes": "focal", "scale_jitter": [0.8, 1.3]},
}
BASES = {
    "fast-rcnn, mosaic and ohem": FAST,
    "fast-rcnn, measured giou": FAST | {"model.head.measured_boxes": True},
    "faster-rcnn, exact, giou and ohem": {"training.scheme": "exact-joint"},
    "rcnn, focal, ema and scale jitter": METHODS["rcnn"],
}


def config_of(settings, **training):
    more = {f"training.{name}": value for name, value in training.items()}
    return override(preset("demo"), None, (), TINY | SHORT | more | settings)


def shapes(count=2):
    """Shapes with regions for the methods that need some: one picture shows no square."""
    samples = [shape_sample("a"), *(shape_sample(f"b{n}", objects=1) for n in range(count - 1))]
    return DataSet({"train": [replace(one, proposals=regions_near(one)) for one in samples]}, ("disc", "square"))


def trained(folder, settings, data=None, **training):
    prepared = prepare(data or shapes(), folder, config_of(settings, **training), val_split="none")
    prepared.training.run()
    return weights_of(prepared.workshop.model)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The weights that a method learns without further settings."""

    @cache
    def of(base):
        return trained(tmp_path_factory.mktemp("plain") / "run", json.loads(base), epochs=1)

    return lambda base: of(json.dumps(base))


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_trains_and_makes_a_difference(tmp_path, name, plain):
    base = BASES.get(name, {})
    learned = trained(tmp_path / "run", base | SETTINGS[name], epochs=1)
    assert not equal(learned, plain(base))
    assert all(value.isfinite().all() for value in learned.values() if value.is_floating_point())
    assert all(math.isfinite(row["loss"]) for row in rows_of(tmp_path / "run") if "loss" in row)


RESUMED = {
    "ema, accumulated": {"ema": 0.9, "training.accumulate": 2},
    "repeated and varied": SETTINGS["mosaic"] | SETTINGS["scale jitter"] | {"colour": 0.8, "training.repeat": 1.0},
    "4-step, ema and ohem": {"training.scheme": "4-step", "ema": 0.9, "loss.regions": "ohem"},
}


@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_of_each_state_resumes_bitwise(tmp_path, name):
    config, data = config_of(RESUMED[name], batch=1, epochs=1), shapes(3)
    prepare(data, tmp_path / "straight", config, val_split="none").training.run()
    with pytest.raises(Stopped):
        prepare(data, tmp_path / "run", config, StopAt(1, 2), val_split="none").training.run()
    prepare(data, tmp_path / "run", resume=True).training.run()
    assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_the_mean_of_the_weights_is_what_the_loop_says_with_its_warm_up():
    layer = torch.nn.Linear(2, 1)
    averaged, expected = Averaged(layer, 0.5), layer.weight.detach().clone()
    for move in range(1, 12):
        with torch.no_grad():
            layer.weight += move
        averaged.update()
        decay = min(0.5, (1 + move) / (10 + move))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(averaged.mean["weight"], expected)
    raw = layer.weight.detach().clone()
    with averaged.in_place():
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(layer.weight, raw)


def test_validation_and_the_kept_model_are_of_the_mean_and_the_state_holds_both(tmp_path):
    data, seen = shape_data(3, 1), []
    plain = prepare(data, tmp_path / "plain", tiny_config(epochs=2)).training
    plain.run()
    training = prepare(data, tmp_path / "run", tiny_config(epochs=2, ema=0.8)).training
    training.session.evaluate = lambda: seen.append(weights_of(training.model)) or {"AP": float(len(seen)), "AP50": 1.0}
    training.run()
    last, _ = read_tensors(training.folder.last)
    best, _ = read_tensors(training.folder.best)
    raw = {name.removeprefix("model/"): value for name, value in last.items() if name.startswith("model/")}
    assert equal(raw, weights_of(plain.model)), "the mean changes nothing of what is learned"
    assert equal(best, seen[-1])
    assert equal(best, model_tensors(last)), "and it is what the newest state detects with"
    assert equal(best, weights_of(training.model)), "and what a run leaves in memory"
    assert not equal(best, raw)


def test_the_mean_spares_what_is_frozen_and_each_stage_has_its_own(tmp_path):
    config = config_of({"training.scheme": "4-step", "model.frozen_stages": 1}, ema=0.8, batch=2)
    prepared = prepare(shape_data(3, 0), tmp_path / "run", config, val_split="none")
    frozen = {name: p.detach().clone() for name, p in prepared.workshop.model.named_parameters() if not p.requires_grad}
    assert frozen
    parts = []
    open_session = prepared.workshop.open

    def opened(stage, metadata):
        session = open_session(stage, metadata)
        parts.append({name.split(".")[0] for name in session.averaged.mean})
        assert not session.averaged.mean.keys() & frozen.keys()
        return session

    prepared.training.tools = replace(prepared.training.tools, open=opened)
    prepared.training.run()
    assert parts == [{"backbone", "head"}, {"rpn"}, {"head"}], "beside the first, which was open already"
    model = dict(prepared.workshop.model.named_parameters())
    assert all(torch.equal(model[name], value) for name, value in frozen.items())


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("pictures", [4, 3], ids=["full", "with an empty place"])
def test_accumulated_batches_have_the_gradient_of_one_batch_of_the_same_pictures(tmp_path, pictures):
    """The real losses, whose means are over as many anchors and regions in each picture."""
    moved = []
    for batch, accumulate in ((4, 1), (2, 2)):
        config = config_of({"training.optimizer": "sgd"}, batch=batch, accumulate=accumulate, epochs=1, clip=0.0)
        training = prepare(shape_data(pictures, 0), tmp_path / str(batch), config, val_split="none").training
        before = weights_of(training.model)
        training.run()
        moved.append({name: value - before[name] for name, value in weights_of(training.model).items()})
    for name, one in moved[0].items():
        torch.testing.assert_close(moved[1][name], one, rtol=0, atol=2e-3 * float(one.abs().max()) + 1e-9)


def test_balanced_weights_are_found_from_the_training_data_and_written_down(tmp_path):
    data = DataSet({"train": [shape_sample("a", objects=2), shape_sample("b", objects=3)]}, tuple(COLOURS))
    config = config_of({"loss.class_weights": "balanced"}, epochs=1)
    prepared = prepare(data, tmp_path / "run", config, val_split="none")
    names = [name for sample in data.splits["train"] for name in sample.names]
    expected = {name: float(f"{len(names) / 2 / names.count(name):.4g}") for name in COLOURS}
    assert prepared.config.training.loss.class_weights == expected
    prepared.training.run()
    assert api.stored_config(tmp_path / "run").training.loss.class_weights == expected
    prepare(data, tmp_path / "run", config, val_split="none", resume=True)  # the same words serve


def test_a_run_begun_before_a_setting_was_there_resumes(tmp_path):
    prepare(shape_data(2, 0), tmp_path / "run", tiny_config(epochs=1), val_split="none").training.run()
    tensors, metadata = read_tensors(tmp_path / "run" / "last.safetensors")
    for name in ("ema", "patience", "repeat", "augment", "loss"):
        del metadata["config"]["training"][name]
    del metadata["best_epoch"], metadata["stopped"]
    write_tensors(tmp_path / "run" / "last.safetensors", tensors, metadata)
    prepare(shape_data(2, 0), tmp_path / "run", resume=True).training.run()
