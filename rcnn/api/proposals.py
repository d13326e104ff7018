"""Proposals of a data set: made by selective search or by a trained RPN, and measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rcnn.api.data import Data, read_data, split
from rcnn.data import MAX_PIXELS, every_sample, resolve
from rcnn.errors import ConfigError
from rcnn.evaluation.recall import ProposalRecall, measure_recall
from rcnn.inference.predictor import Detector
from rcnn.proposals.files import ProposalTable, attach, read_proposals
from rcnn.proposals.generate import Found, generate
from rcnn.proposals.rpn import ProposalLimits
from rcnn.proposals.selective_search import Mode, opencv
from rcnn.sample import DataSet, Picture, Sample
from rcnn.structures import to_device


def samples_to_propose(dataset: DataSet, name: str | None) -> list[Sample]:
    """The samples of a split, or each sample once where none is named."""
    return every_sample(dataset) if name is None else split(dataset, name, "--split NAME, or leave it out for all")


def search_proposals(
    samples: Sequence[Sample],
    mode: Mode = "fast",
    maximum: int = 2000,
    workers: int = 0,
    cache: Path | None = None,
    on_picture: Callable[[], object] = lambda: None,
    max_pixels: int = MAX_PIXELS,
) -> ProposalTable:
    """The proposals of selective search; see `rcnn.proposals.generate.generate` for what the options mean."""
    pictures = [sample.picture for sample in samples]
    found = generate(pictures, mode, maximum, workers, cache, on_picture, max_pixels)
    settings = {"mode": mode, "maximum": maximum, "opencv": opencv().__version__}
    return _table("selective-search", settings, samples, found)


def rpn_proposals(
    detector: Detector,
    samples: Sequence[Sample],
    maximum: int = 2000,
    settings: Mapping[str, Any] | None = None,
    on_picture: Callable[[], object] = lambda: None,
) -> ProposalTable:
    """The proposals of a trained Faster R-CNN, scored by their objectness.

    `settings` are noted in the table, beside `maximum`. Raises ConfigError for a model that has no RPN.
    """
    if not hasattr(detector.model, "rpn"):
        method = type(detector.model).__name__
        raise ConfigError(f"--run: a {method}, which makes no proposals of its own; give the run of a Faster R-CNN")
    found = _rpn_found(detector, samples, maximum, on_picture)
    return _table("rpn", {"maximum": maximum, **(settings or {})}, samples, found)


def with_proposals(dataset: DataSet, file: Path, maximum: int | None = None) -> DataSet:
    """The data set with the best `maximum` proposals of a file beside each sample."""
    return attach(dataset, read_proposals(file, dataset), maximum)


def proposal_recall(data: Data, file: Path | str, split_name: str | None = None) -> ProposalRecall:
    """How many of a data set's true boxes the proposals of a file cover; of one split, or of all pictures."""
    dataset = read_data(data, "drop")
    return recall_of(dataset, samples_to_propose(dataset, split_name), read_proposals(Path(file), dataset))


def recall_of(dataset: DataSet, samples: Sequence[Sample], table: ProposalTable) -> ProposalRecall:
    """How many of the samples' true boxes a table covers."""
    attached = attach(replace(dataset, splits={"measured": list(samples)}), table).splits["measured"]
    return measure_recall(samples, [sample.proposals for sample in attached if sample.proposals is not None])


def _table(method: str, settings: dict[str, Any], samples: Sequence[Sample], found: Iterator[Found]) -> ProposalTable:
    rows = {sample.id: row for sample, row in zip(samples, found, strict=True)}
    boxes, scores = ({key: row[part] for key, row in rows.items()} for part in (0, 1))
    return ProposalTable(method, settings, boxes, scores)


def _rpn_found(
    detector: Detector, samples: Sequence[Sample], maximum: int, on_picture: Callable[[], object]
) -> Iterator[Found]:
    model: Any = detector.model
    before = max(model.limits.before, maximum)
    limits = replace(model.limits, before=before, after=maximum)
    for sample in samples:
        yield _rpn_one(detector, sample.picture, limits)
        on_picture()


@torch.inference_mode()
def _rpn_one(detector: Detector, picture: Picture, limits: ProposalLimits) -> Found:
    """The RPN's proposals for one picture, in its own pixels."""
    pixels, model = resolve(picture, detector.max_pixels, detector.preprocess.channels), detector.model
    batch = detector.batch_of(pixels)
    size, resized = pixels.shape[:2], batch.sizes[0].tolist()
    batch = to_device(batch, detector.device)
    with torch.autocast(detector.device.type, torch.bfloat16, enabled=detector.bf16):
        proposals = model.eval().rpn(model.backbone(batch.images), batch, limits)  # type: ignore[operator]
    boxes, scores, valid = (
        part[0].float().cpu().numpy() for part in (proposals.boxes, proposals.scores, proposals.valid)
    )
    original, shown = (np.array([w, h, w, h], np.float32) for h, w in (size, resized))
    boxes = np.minimum(boxes * original / shown, original)
    kept = (valid > 0) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[kept], scores[kept]
