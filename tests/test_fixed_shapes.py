"""Shapes follow from settings alone, so nothing waits for the device; and padding of any kind takes no part."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DynamicOutputShapeException
from torch.utils._python_dispatch import TorchDispatchMode

from rcnn import build
from rcnn.acceleration.convolutions import quicken
from rcnn.compat.torchvision import CONFIGS
from rcnn.data.loader import make_targets
from rcnn.data.preprocess import Preprocess
from rcnn.matching import match
from rcnn.presets import PRESETS
from rcnn.presets.modern import demo
from rcnn.proposals.rpn import propose
from rcnn.sample import Sample
from rcnn.structures import Batch, PaddedDetections, Proposals, Targets
from rcnn.training.objectives import JointObjective
from rcnn.training.sampling import draw_sample
from rcnn.training.schemes import Learn

ALL = {name: preset() for name, preset in PRESETS.items()} | CONFIGS
LOSSES = {
    "rcnn": {"score"},
    "sppnet": {"score"},
    "fast-rcnn": {"score", "box"},
    "faster-rcnn": {"rpn_score", "rpn_box", "score", "box"},
}
aten = torch.ops.aten


class NothingWaits(TorchDispatchMode):
    """Raises at whatever makes the processor wait for the device, or carries data between them."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        packet = operator.overloadpacket
        if packet in (
            aten._local_scalar_dense,
            aten.lift_fresh,
            aten.lift_fresh_copy,
            aten.nonzero,
            aten.masked_select,
        ):
            raise AssertionError(f"{operator} waits for the device or brings a constant to it")
        result = operator(*args, **(kwargs or {}))
        if packet is aten._to_copy:
            assert result.device == args[0].device, "a copy between devices"
        if packet is aten.copy_:
            assert args[0].device == args[1].device, "a copy between devices"
        return result


def fake_batch(pictures=2, objects=16, height=192, width=224, regions=24):
    """A batch, with proposals from outside, and its truth as they arrive on the device."""
    sizes = torch.ones(pictures, 2, dtype=torch.int64)
    flags = torch.ones(pictures, objects, dtype=torch.bool)
    places = torch.ones(pictures, regions)
    proposals = Proposals(torch.zeros(pictures, regions, 4), places, places > 0)
    batch = Batch(torch.zeros(pictures, 3, height, width), sizes, sizes, torch.ones(pictures), proposals)
    labels, weight = torch.ones(pictures, objects, dtype=torch.int64), torch.ones(pictures, objects)
    boxes, keys = torch.zeros(pictures, objects, 4), torch.zeros(pictures, dtype=torch.int64)
    return batch, Targets(boxes, labels, flags, flags, flags, weight, keys)


@pytest.mark.parametrize("name", ALL)
def test_prediction_and_losses_have_fixed_shapes_and_never_wait_for_the_device(name, monkeypatch):
    # A module of fake tensors cannot be laid out anew.
    monkeypatch.setattr(build.model, "quickened", lambda model: quicken(model) or model)
    config = build.resolved(ALL[name], pretrained=name != "demo")
    with FakeTensorMode(), torch.device("cuda"):
        model, _ = build.detector(config, 5)
        batch, targets = fake_batch()
        with NothingWaits(), torch.no_grad():
            found = model.eval()(batch)
        stages = [stage for stage in build.stages(model.train(), config) if isinstance(stage, Learn)]
        with NothingWaits():
            losses = {name: value for stage in stages for name, value in stage.objective(batch, targets).items()}
    assert isinstance(found, PaddedDetections)
    assert found.boxes.shape == (2, min(config.model.detections.maximum, 24 * 5), 4)
    assert found.boxes.device.type == "cuda"
    assert losses.keys() == LOSSES[config.model.method]
    assert {(value.shape, value.device.type) for value in losses.values()} == {((), "cuda")}
    assert all(value.requires_grad for value in losses.values())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0, 3.0], device="cpu").to("cuda"),
        lambda x: x.cpu(),
        lambda x: torch.tensor([1.0], device="cuda"),
    ],
    ids=["item", "mask", "constant", "copy", "tensor"],
)
def test_what_waits_is_noticed(wrong):
    with FakeTensorMode(), torch.device("cuda"):
        x = torch.ones(3)
        with pytest.raises((AssertionError, DynamicOutputShapeException)), NothingWaits():
            wrong(x)


CLASSES = ("a", "b", "c")
PREPROCESS = Preprocess(128, 208, "coarse")
CANVAS = (128, 192)


def picture(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def batch_of(*sizes, count=None, first=0):
    """Pictures of the given sizes on one canvas, filled up to `count`."""
    pictures = [picture(2 * h, 2 * w, seed) for seed, (h, w) in enumerate(sizes, start=first)]
    return PREPROCESS.lay_out(pictures, sizes, CANVAS, count or len(sizes))


def truth(number, size, count=5, **flags):
    rng = np.random.default_rng(number)
    height, width = size
    side = rng.uniform(16, 60, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * np.maximum((width, height) - side, 1)
    names = tuple(rng.choice(CLASSES, count))
    return Sample(
        str(number), np.zeros((1, 1, 3), np.uint8), np.concatenate((corner, corner + side), 1), names, **flags
    )


def targets_of(samples, count=None):
    labels = {name: number for number, name in enumerate(CLASSES, start=1)}
    return make_targets(samples, labels, [7919 * int(one.id) + 1 for one in samples], count or len(samples))


def objective(**changes):
    """The demo's network with random weights, and what it minimises."""
    torch.manual_seed(0)
    config = build.resolved(demo(), pretrained=False)
    config = config.model_copy(update={"training": config.training.model_copy(update=changes)})
    model, _ = build.detector(config, len(CLASSES))
    with torch.no_grad():
        for layer, factor in ((model.rpn.head.cls_logits, 30), (model.head.cls_score, 20), (model.head.bbox_pred, 5)):
            layer.weight.mul_(factor)
    return build.stages(model, config)[0].objective


SIZES = ((128, 170), (97, 130))


@torch.no_grad()
def test_a_picture_in_a_batch_gives_the_same_detections_as_alone():
    model = objective().model.eval()
    together = model(batch_of(*SIZES, count=3))
    for place, size in enumerate(SIZES):
        alone = model(batch_of(size, first=place))
        assert alone.valid.sum() >= 10
        for name in ("boxes", "scores", "labels", "valid"):
            torch.testing.assert_close(
                getattr(together, name)[place],
                getattr(alone, name)[0],
                rtol=1e-5,
                atol=1e-3 if name == "boxes" else 1e-5,
            )


def anchors_beyond(objective, batch):
    """The anchors, and which of them stand beyond the frame of each picture, its sides rounded up to 32."""
    anchors = objective.model.rpn.anchors_of(objective.model.backbone(batch.images), batch)
    frame = (batch.sizes + 31) // 32 * 32
    x, y = anchors.origins.unbind(-1)
    return anchors, (x >= frame[:, 1:]) | (y >= frame[:, :1])


@torch.no_grad()
def test_padding_is_never_proposed():
    trained, batch = objective(), batch_of(*SIZES)
    anchors, beyond = anchors_beyond(trained, batch)
    assert beyond[1].sum() > 100
    assert not beyond[0, anchors.origins[:, 0] < 170].any()
    logits = torch.where(beyond, 50.0, torch.randn(beyond.shape))  # the padding looks best of all
    limits = trained.model.limits
    found = propose(logits, torch.zeros(*beyond.shape, 4), anchors, batch.sizes, limits)
    assert found.scores.max() < 0.9999
    assert found.valid.any(dim=1).all()
    edge = batch.sizes.flip(-1).repeat(1, 2)[:, None]
    assert ((found.boxes >= 0) & (found.boxes <= edge)).all()


@torch.no_grad()
def test_padding_is_never_sampled():
    trained, batch = objective(), batch_of(*SIZES)
    targets = targets_of([truth(n, size) for n, size in enumerate(SIZES)])
    anchors, beyond = anchors_beyond(trained, batch)
    matches = match(anchors.boxes[None], targets)
    everything = replace(trained.rpn.sampling, count=beyond.shape[1])
    chosen = draw_sample(matches, anchors.inside(batch.sizes), targets.keys, everything, stream=1)
    assert not (chosen.take(beyond) & chosen.valid).any()
    assert chosen.valid.sum(dim=1).tolist() != [0, 0]


@torch.no_grad()
def test_what_lies_on_the_padding_is_never_detected():
    batch = batch_of(*SIZES)
    found = objective().model.eval()(batch)
    edge = batch.original_sizes.flip(-1).repeat(1, 2)[:, None]
    assert (found.boxes <= edge + 1e-3).all()
    assert (found.boxes[..., 2:] > found.boxes[..., :2]).all(-1)[found.valid].all()


def losses_and_gradients(trained, batch, targets):
    losses = trained(batch, targets)
    names, parameters = zip(*((n, p) for n, p in trained.named_parameters() if p.requires_grad), strict=True)
    gradients = torch.autograd.grad(torch.stack(list(losses.values())).sum(), parameters, allow_unused=True)
    return losses, dict(zip(names, gradients, strict=True))


@pytest.mark.parametrize("pictures", [2, 0], ids=["pictures without objects", "fillers alone"])
def test_a_batch_without_objects_has_finite_losses_and_gradients(pictures):
    batch = batch_of(*SIZES[:pictures], count=3)
    targets = targets_of([truth(n, SIZES[n], count=0) for n in range(pictures)], count=3)
    losses, gradients = losses_and_gradients(objective(), batch, targets)
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["rpn_box"] == 0
    assert losses["box"] == 0
    assert (losses["rpn_score"] > 0) == (losses["score"] > 0) == (pictures > 0)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values() if gradient is not None)
    if not pictures:
        assert all((gradient == 0).all() for gradient in gradients.values() if gradient is not None)


def test_fillers_change_neither_losses_nor_gradients():
    samples = [truth(n, size) for n, size in enumerate(SIZES)]
    trained = objective()
    expected, slopes = losses_and_gradients(trained, batch_of(*SIZES), targets_of(samples))
    losses, gradients = losses_and_gradients(trained, batch_of(*SIZES, count=4), targets_of(samples, count=4))
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, slopes[name], rtol=0, atol=1e-4 * float(slopes[name].abs().max()))


def test_what_a_picture_teaches_does_not_depend_on_its_neighbours():
    samples = [truth(n, size) for n, size in enumerate(SIZES)]
    trained = objective()
    together = trained(batch_of(*SIZES), targets_of(samples))
    alone = [trained(batch_of(size, first=n), targets_of([samples[n]])) for n, size in enumerate(SIZES)]
    for name, value in together.items():  # each picture fills its mini-batches: the mean is that of both
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("skipped", ["crowd", "difficult"])
def test_where_nothing_shall_be_learned_nothing_is_negative(skipped):
    """Neither in a crowd nor, with `train_difficult` off, at a difficult object."""
    trained, batch = objective(train_difficult=False), batch_of(SIZES[0])
    region = [0.0, 0.0, 96.0, 128.0]
    sample = Sample("0", np.zeros((1, 1, 3), np.uint8), np.array([region]), ("a",), **{skipped: np.array([True])})
    targets = targets_of([sample])
    anchors, _ = anchors_beyond(trained, batch)
    boxes = anchors.boxes
    width = boxes[:, 2].clamp(max=96) - boxes[:, 0].clamp(min=0)
    height = boxes[:, 3].clamp(max=128) - boxes[:, 1].clamp(min=0)
    covered = width.clamp(min=0) * height.clamp(min=0) >= 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    matches = match(boxes[None], targets, trained.rpn.train_difficult)
    everything = replace(trained.rpn.sampling, count=len(boxes), fraction=0.5)
    chosen = draw_sample(matches, anchors.inside(batch.sizes), targets.keys, everything, stream=1)
    assert covered[anchors.inside(batch.sizes)[0]].sum() > 100
    assert chosen.valid.sum() > 100
    assert not chosen.positive.any()
    assert not covered[chosen.index[chosen.valid]].any()


def test_difficult_objects_teach_unless_they_are_switched_off():
    batch, sample = batch_of(SIZES[0]), truth(3, SIZES[0], difficult=np.ones(5, bool))
    for train_difficult in (True, False):
        trained: JointObjective = objective(train_difficult=train_difficult)
        losses = trained(batch, targets_of([sample]))
        assert (losses["rpn_box"] > 0) == (losses["box"] > 0) == train_difficult
        assert losses["rpn_score"] > 0
        assert losses["score"] > 0


def test_an_objects_weight_is_what_it_counts():
    batch, trained = batch_of(SIZES[0]), objective()
    by_weight = []
    for weight in (1.0, 3.0, 0.0):
        by_weight.append(trained(batch, targets_of([truth(3, SIZES[0], weight=np.full(5, weight))])))
    for name in ("rpn_box", "box"):
        torch.testing.assert_close(by_weight[1][name], 3 * by_weight[0][name])
        assert by_weight[2][name] == 0
