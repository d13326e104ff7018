"""Training steps of torchvision's Faster R-CNN and of this library, taken in turn on the same pictures.

Both train MobileNetV2 with a pyramid and frozen batch norm, 256 anchors and 512 regions a picture; torchvision as
shipped: fp32, channels first. A step is all that training repeats: decoding, forward, backward, the optimizer.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FrozenBatchNorm2d

from rcnn import build
from rcnn.api import read_data
from rcnn.backbones.weights import load_backbone_weights
from rcnn.config import Config, InputSettings
from rcnn.data.loader import Augment, Collate, Draw, EpochSampler, Samples, mirror
from rcnn.errors import RcnnError
from rcnn.presets import PRESETS
from rcnn.sample import Sample
from rcnn.training.loop import Progress, Trainer
from rcnn.training.memory import keep_freed_memory
from rcnn.training.optim import make_optimizer

Step = Callable[[list[Draw]], object]
CLIP = 10.0


def torchvision_step(samples: Sequence[Sample], class_names: Sequence[str], config: Config, weights: Path) -> Step:
    """A training step of torchvision's model."""
    labels = {name: number for number, name in enumerate(class_names, start=1)}
    model = torchvision_model(len(class_names), config, weights).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3, 0.9, weight_decay=1e-4)

    def step(draws: list[Draw]) -> None:
        pictures, targets = zip(*(decoded(samples[draw.index], labels, draw.mirrored) for draw in draws), strict=True)
        loss = torch.stack(list(model(list(pictures), list(targets)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    return step


def torchvision_model(classes: int, config: Config, weights: Path) -> FasterRCNN:
    """Torchvision's parts put together as its documentation says."""
    body = torchvision.models.mobilenet_v2(norm_layer=FrozenBatchNorm2d).features
    load_backbone_weights(body, "mobilenet-v2", weights)
    taps = {"3": "0", "6": "1", "13": "2", "18": "3"}
    backbone = BackboneWithFPN(body, taps, [24, 32, 96, 1280], 256)
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    size = {"min_size": config.input.short, "max_size": config.input.long}
    return FasterRCNN(backbone, classes + 1, rpn_anchor_generator=anchors, **size)


def decoded(sample: Sample, labels: dict[str, int], mirrored: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture and its truth as torchvision's models take them."""
    if not isinstance(sample.picture, Path):
        raise SystemExit(f"{sample.id}: is no file; pass data whose pictures are files")
    with Image.open(sample.picture) as image:
        picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    boxes = mirror(sample.boxes, picture.shape[2]) if mirrored else sample.boxes
    picture = picture.flip(2) if mirrored else picture
    numbers = torch.tensor([labels[name] for name in sample.names], dtype=torch.int64)
    return picture, {"boxes": torch.from_numpy(boxes.astype(np.float32)), "labels": numbers}


def own_step(
    samples: Sequence[Sample], class_names: Sequence[str], config: Config, weights: Path, batch: int, bf16: bool
) -> Step:
    """A training step of this library."""
    preprocess = build.preprocess(config.input)
    dataset, collate = Samples(samples, preprocess), Collate(preprocess, class_names, batch)
    model, _ = build.detector(config, len(class_names), weights, pretrained=True)
    optimizer = make_optimizer(model, build.optimizer_settings(config.training))
    objective, schedule = build.stages(model, config)[0].objective, build.schedule(config.training, 1000)
    trainer = Trainer(objective, optimizer, schedule, 1e-3, torch.device("cpu"), bf16, clip=CLIP)

    def step(draws: list[Draw]) -> None:
        item = collate([dataset[draw] for draw in draws])
        trainer.run([item], 1, Progress(), lambda *_: False)

    return step


def full_batches(samples: Sequence[Sample], config: Config, batch: int, count: int) -> list[list[Draw]]:
    """As many full batches as asked for, from as many epochs as it takes."""
    sampler = EpochSampler(samples, build.preprocess(config.input), batch, Augment(), seed=0)
    found: list[list[Draw]] = []
    while len(found) < count:
        epoch = [draws for draws in sampler if len(draws) == batch]
        if not epoch:
            raise SystemExit(f"--batch {batch}: no {batch} pictures share a canvas; pass fewer")
        found += epoch
        sampler.epoch += 1
    return found[:count]


def measure(steps: dict[str, Step], batches: Sequence[list[Draw]], warmup: int) -> dict[str, list[float]]:
    """Seconds of each step of each variant, one step of each in turn, after some that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number, draws in enumerate(batches):
        for name, step in steps.items():
            began = time.perf_counter()
            step(draws)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median, least and most seconds of each variant, and the median of its share of torchvision's seconds."""
    base = next(iter(seconds.values()))
    return {
        name: {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "share": statistics.median(v / b for b, v in zip(base, values, strict=True)),
        }
        for name, values in seconds.items()
    }


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on."""
    lines = info.read_text("utf-8").splitlines() if (info := Path("/proc/cpuinfo")).is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    git = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "commit": git.stdout.strip() or "unknown",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set with a split `train`")
    parser.add_argument("--backbone-weights", type=Path, required=True, help="MobileNetV2's weights for ImageNet")
    parser.add_argument("--steps", type=int, default=30, help="steps of each variant")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them that do not count")
    parser.add_argument("--size", type=int, default=480, help="short side of the pictures")
    parser.add_argument("--batch", type=int, default=4, help="pictures a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all seconds to this file")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_freed_memory()  # as training does; in one process torchvision gains by it too
    data = read_data(args.data, bad_boxes="drop")
    preset = build.resolved(PRESETS["faster-rcnn-mobilenet-fpn"](), pretrained=True)
    config = preset.model_copy(update={"input": InputSettings(short=args.size, long=args.size * 5 // 3)})
    samples = data.splits["train"]
    common = (samples, data.class_names, config, args.backbone_weights)
    steps = {
        "torchvision": torchvision_step(*common),
        "rcnn fp32": own_step(*common, args.batch, bf16=False),
        "rcnn bf16": own_step(*common, args.batch, bf16=True),
    }
    seconds = measure(steps, full_batches(samples, config, args.batch, args.warmup + args.steps), args.warmup)
    where, rows = machine(args.threads), summary(seconds)
    print(json.dumps(where))
    for name, row in rows.items():
        print(f"{name:12} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if args.json:
        report = {"machine": where, "size": args.size, "batch": args.batch, "variants": rows, "seconds": seconds}
        args.json.write_text(json.dumps(report, indent=1), "utf-8")


if __name__ == "__main__":
    try:
        main()
    except RcnnError as error:
        raise SystemExit(error) from None
