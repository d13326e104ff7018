"""Backbones, the RPN's 3x3 layer, and where the time of a picture goes."""

import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn.anchors import SCENE
from drawn.drawing import Drawn, numbers_table
from drawn.lab import Lab, Watcher, detector_of, network, train
from drawn.proposals import losses_of
from drawn.timing import HOW, REPEATS, least_seconds, timed
from drawn.training import study
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rcnn import build
from rcnn.backbones import NETWORKS, SingleMapBackbone
from rcnn.config import Config
from rcnn.methods import FasterRCNN
from rcnn.presets.overrides import override, preset
from rcnn.proposals.rpn import ProposalLimits, RPNHead, propose
from rcnn.report import diagrams as show
from rcnn.sample import DataSet
from rcnn.training.objectives import RPNObjective
from rcnn.training.schemes import Learn, Length

SHOWN = ("alexnet", "zf", "vgg-m", "vgg16", "mobilenet-v2", "resnet18", "resnet50")


def backbones(lab: Lab) -> Drawn:
    """What each backbone is to a detector, and what the 3x3 layer sees and gives."""
    found = study(lab, "middle-layer", lambda: {name: _learn(lab, name) for name in ("1x1", "3x3")})
    figure, axes = show.new_figure(1, 3, 9.2, 2.9)
    show.show_picture(axes[0, 0], lab.picture(SCENE), "the scene", 0.0)
    cell = _middle(lab)
    for axis, name in zip(axes[0, 1:], ("1x1", "3x3"), strict=True):
        seen = _seen(lab, name, cell)
        axis.imshow(seen.clamp(max=float(seen.quantile(0.998))).numpy(), cmap="cividis")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"what one cell sees: {name} layer", fontsize=9)
        axis.plot(*cell, "+", color="white", markersize=8)
    axes[0, 0].plot(*cell, "+", color="black", markersize=10)
    networks = {name: SingleMapBackbone(NETWORKS[name](None)) for name in SHOWN}
    rows = [_about("the lessons' network", SingleMapBackbone(network()))]
    rows += [_about(f"`{name}`", body) for name, body in networks.items()]
    heads = ("backbone", "stride", "channels", "million parameters", "billion multiply-adds", "9 anchors a cell", "ms")
    layers = [(f"{name} layer", *(f"{value:.3f}" for value in recalls)) for name, recalls in found.items()]
    epochs = len(next(iter(found.values())))
    middle = numbers_table(("between map and siblings", *(f"recall, epoch {n + 1}" for n in range(epochs))), layers)
    return Drawn(
        figure,
        "How strongly each pixel moves what the siblings read at one cell (the cross), through a 1x1 and a 3x3 layer. "
        "Tables: RPNs trained anew on the run's fixed map with either layer, by the recall of their "
        "best 20 proposals at IoU 0.7; and backbones, each its last map, on a picture of 416 x 320 pixels, random "
        f"weights; {HOW}.",
        f"{middle}\n\n{numbers_table(heads, rows)}",
    )


class CentreOnly(nn.Module):
    """Makes a 3x3 kernel a 1x1 kernel: all weights but those in the middle are 0.

    Those are tripled, so that what comes out has the spread that nine times as many weights give.
    """

    def forward(self, weight: Float[Tensor, "O I 3 3"]) -> Float[Tensor, "O I 3 3"]:
        """The kernel without its surroundings."""
        return weight * torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, 0, 0]])


def _with_layer(lab: Lab, name: str) -> FasterRCNN:
    """The lab's network with a new RPN whose middle layer is 3x3 or 1x1."""
    model = deepcopy(lab.model)
    torch.manual_seed(0)
    model.rpn.head = RPNHead(model.backbone.channels, model.rpn.anchors.per_cell)
    if name == "1x1":
        parametrize.register_parametrization(model.rpn.head.conv[0][0], "weight", CentreOnly())  # type: ignore[index]
    return model


def _learn(lab: Lab, name: str) -> list[float]:
    """The recall after each epoch of an RPN on fixed convolutions."""
    model, epochs = _with_layer(lab, name), 3 if lab.cache else 1
    data = DataSet({**lab.data.splits, "train": lab.data.splits["train"][:240]}, lab.data.class_names)
    watcher = Watcher(detector_of(model, lab.config, data), data.splits["test"], lab.cache is not None, most=20)
    stage = Learn("rpn", RPNObjective(model, losses_of(lab)[0]), Length(epochs), trains=("rpn",), judged=False)
    with tempfile.TemporaryDirectory() as folder:
        train(model, lab.config, data, Path(folder) / "run", watcher, [stage])
    return [row["recall"] for row in watcher.record.rows]


def _middle(lab: Lab) -> tuple[float, float]:
    """The middle of an object of the scene."""
    x1, y1, x2, y2 = lab.data.splits["test"][SCENE].boxes[2].tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def _seen(lab: Lab, name: str, place: tuple[float, float]) -> Float[Tensor, "H W"]:
    """The size of the gradient of the middle layer at one cell, by pixel of the picture."""
    images = lab.batch([SCENE]).batch.images.clone().requires_grad_()
    head = _with_layer(lab, name).rpn.head
    hidden = head.conv(lab.model.features(images)[0])
    stride = lab.model.backbone.strides[0]
    hidden[0, :, round(place[1] / stride), round(place[0] / stride)].square().sum().backward()
    assert images.grad is not None
    return images.grad[0].abs().sum(0)[:160, :208].sqrt()


def _about(name: str, body: SingleMapBackbone) -> tuple[str, ...]:
    """A backbone's row of the table."""
    counted: list[int] = []
    hooks = [
        part.register_forward_hook(lambda layer, _, out: counted.append(out[0, 0].numel() * layer.weight.numel()))
        for part in body.modules()
        if isinstance(part, nn.Conv2d)
    ]
    image = torch.zeros(1, 3, 320, 416)
    with torch.inference_mode():
        cells = body.eval()(image)[0][0, 0].numel()
        for hook in hooks:
            hook.remove()
        seconds = least_seconds(lambda: body(image))
    million = sum(parameter.numel() for parameter in body.parameters()) / 1e6
    stride, channels = f"{body.strides[0]:g}", str(body.channels)
    return (
        name,
        stride,
        channels,
        f"{million:.1f}",
        f"{sum(counted) / 1e9:.1f}",
        f"{9 * cells:,}",
        f"{seconds * 1000:.0f}",
    )


PHASES = ("prepare", "convolutions", "RPN's layers", "top k, decode, NMS", "RoI pooling", "head", "postprocessing")
SHADES = (show.GRAY, show.BLUE, show.SKY, show.GREEN, show.ORANGE, show.VERMILLION, show.PURPLE)


@dataclass(frozen=True)
class Timed:
    """A detector of which the phases are measured."""

    name: str
    config: Config
    proposals: int


@torch.inference_mode()
def phases(lab: Lab) -> Drawn:
    """Where the milliseconds of a picture go, for a paper's network and what makes it quicker."""
    vgg, mobile = preset("faster-rcnn-vgg16"), preset("faster-rcnn-mobilenet-fpn")
    half = override(vgg, None, (), {"input.short": 300, "input.long": 500})
    jobs = (
        (Timed("VGG16, 600 px, 300 proposals", vgg, 300), Timed("50 proposals", vgg, 50), Timed("300 px", half, 300)),
        (Timed("MobileNetV2 + FPN, 480 px, 300 proposals", mobile, 300),),
    )
    measured: dict[str, list[float]] = {}
    for group in jobs:
        model, _ = build.detector(build.resolved(group[0].config, False), 20, None, False)
        names = [job.name if job is group[0] else f"the same, {job.name}" for job in group]
        measured |= dict(zip(names, _phases(lab, model.eval(), group), strict=True))
    figure, axes = show.new_figure(1, 1, 8.4, 2.7)
    _bars(axes[0, 0], measured)
    rows = [(name, *(f"{1000 * v:,.0f}" for v in (*values, sum(values)))) for name, values in measured.items()]
    return Drawn(
        figure,
        f"One picture, by phase: the presets of the paper and of today, random weights; {HOW}, each phase by itself.",
        numbers_table(("milliseconds", *PHASES, "all"), rows),
    )


def _bars(axis: Any, measured: dict[str, list[float]]) -> None:
    left, names = np.zeros(len(measured)), [name.replace(", 300 prop", ",\n300 prop") for name in measured]
    for phase, values, colour in zip(PHASES, np.array(list(measured.values())).T, SHADES, strict=True):
        axis.barh(names, values, left=left, color=colour, label=phase, height=0.6)
        left += values
    axis.invert_yaxis()
    axis.set(xlabel="seconds a picture")
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.4, 1.0))


def _phases(lab: Lab, model: Any, jobs: Sequence[Timed]) -> list[list[float]]:
    """For each job the seconds of each phase, each the least of several runs; the jobs take turns, to be alike."""
    runs = [[_measured(lab, model, job) for job in jobs] for _ in range(REPEATS)]
    return [[min(values) for values in zip(*own, strict=True)] for own in zip(*runs, strict=True)]


def _measured(lab: Lab, model: Any, job: Timed) -> list[float]:
    """The seconds of each phase, once."""
    picture, preprocess = lab.picture(SCENE), build.preprocess(job.config.input)
    limits = replace(model.limits, before=max(model.limits.before, job.proposals), after=job.proposals)
    resized = preprocess.resized((picture.shape[0], picture.shape[1]))
    return _run(model, limits, lambda: preprocess.lay_out([picture], [resized], preprocess.canvas(resized), 1))


def _run(model: FasterRCNN, limits: ProposalLimits, prepare: Callable[[], Any]) -> list[float]:
    """The phases of `FasterRCNN.forward`, one by one."""
    prepared, batch = timed(prepare)
    convolved, features = timed(lambda: model.features(batch.images))
    scored, (logits, deltas) = timed(lambda: model.rpn.head(features))
    anchors = model.rpn.anchors_of(features, batch)
    chosen, proposals = timed(lambda: propose(logits, deltas, anchors, batch.sizes, limits))
    pooled, regions = timed(lambda: model.describe(features, proposals.boxes))
    headed, (scores, boxes) = timed(lambda: model.head.predict(regions))
    ended, _ = timed(lambda: model.postprocess(proposals, scores, boxes, batch))
    return [prepared, convolved, scored, chosen, pooled, headed, ended]
