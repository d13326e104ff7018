"""From a run to a model of another library, with proof that it computes the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models import detection as tv

from rcnn.agreement import near
from rcnn.api.saving import read_whole
from rcnn.compat.torchvision.export import anchors, arguments, model_name, to_state
from rcnn.errors import DisagreementError
from rcnn.methods import FasterRCNN
from rcnn.paths import refuse_existing
from rcnn.runs import write_bytes

TOLERANCE = 1e-4
"""Largest difference of a part's output, as a share of the largest value."""


@dataclass(frozen=True)
class Converted:
    """A torchvision model as it was written: its function, the arguments that build it, and how near each part is."""

    name: str
    arguments: Mapping[str, Any]
    anchors: tuple[Any, Any]
    differences: Mapping[str, float]
    """By part of the network: the largest difference, as a share of the largest value."""

    @property
    def code(self) -> str:
        """What builds the model and reads the file, in Python; `FILE` stands for its name."""
        sizes, ratios = self.anchors
        words = [f"{key}={value!r}" for key, value in self.arguments.items()]
        return "\n".join(
            [
                f"model = torchvision.models.detection.{self.name}(",
                *(f"    {word}," for word in words),
                ")",
                f"model.rpn.anchor_generator = AnchorGenerator({sizes!r}, {ratios!r})",
                "model.load_state_dict(torch.load(FILE, weights_only=True))",
            ]
        )


def to_torchvision(
    run: Path | str, out: Path | str, overwrite: bool = False, weights: Path | str | None = None
) -> Converted:
    """Write the state dict that torchvision's model of the same shape loads.

    `run` may be `LIBRARY:NAME`, its `weights` in a file. Raises ConfigError for a run that torchvision has no model
    for, or a file that exists; DisagreementError, with nothing written, where the two do not compute the same.
    """
    file = Path(out)
    refuse_existing(file, overwrite)
    whole = read_whole(run, torch.device("cpu"), weights)
    config, model = whole.config, whole.detector.model
    name = model_name(config)
    assert isinstance(model, FasterRCNN)
    state = to_state(model, name)
    given, grid = arguments(config, len(whole.detector.class_names)), anchors(config)
    theirs = getattr(tv, name)(**given)
    theirs.load_state_dict(state)
    differences = compared(model.eval(), theirs.eval())
    content = BytesIO()
    torch.save(state, content)
    write_bytes(file, content.getvalue())
    return Converted(name, given, grid, differences)


@torch.no_grad()
def compared(model: FasterRCNN, theirs: Any) -> dict[str, float]:
    """How far the parts of both networks are apart on random input; raises DisagreementError beyond TOLERANCE."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 128, 192, generator=generator)
    own, other = model.features(images), list(theirs.backbone(images).values())
    logits, deltas = model.rpn.head(own)
    their_logits, their_deltas = theirs.rpn.head(own)
    pooled = torch.randn(5, own[0].shape[1], 7, 7, generator=generator)
    scores, boxes = model.head(pooled)
    their_scores, their_boxes = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
    pairs: dict[str, tuple[Tensor, Tensor]] = {
        "features": (torch.cat([level.flatten() for level in own]), torch.cat([level.flatten() for level in other])),
        "objectness": (logits, _by_anchor(their_logits)),
        "anchor deltas": (deltas.flatten(1), _by_anchor(their_deltas)),
        "class scores": (scores, their_scores),
        "box deltas": (boxes.flatten(1), their_boxes),
    }
    try:
        return {part: near(*pair, TOLERANCE, part) for part, pair in pairs.items()}
    except AssertionError as error:
        raise DisagreementError(f"torchvision's model does not compute the same: {error}") from error


def _by_anchor(levels: Sequence[Tensor]) -> Float[Tensor, "B N"]:
    """Maps [B, C, h, w] of all levels, cell after cell."""
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1) for level in levels], dim=1)
