"""What travels between the rooms of the library.

Size letters, used in every signature: B images, C channels, H W pixels, G true boxes, A anchors, P proposals,
S sampled boxes, K classes, D detections. Boxes are (x1, y1, x2, y2) in pixels; x2 and y2 are exclusive edges.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Proposals:
    """Regions that may hold an object, best first, in pixels of the resized picture."""

    boxes: Float[Tensor, "B P 4"]
    scores: Float[Tensor, "B P"]
    valid: Bool[Tensor, "B P"]


@dataclass(frozen=True)
class Batch:
    """Pictures on one canvas size, normalised, each in the upper left corner of its canvas, zero beyond."""

    images: Float[Tensor, "B C H W"]
    sizes: Int[Tensor, "B 2"]
    """Height and width of the part of the canvas that shows the picture."""
    original_sizes: Int[Tensor, "B 2"]
    """Height and width of the picture before it was resized: detections are reported in these pixels."""
    weight: Float[Tensor, "B"]
    """1 for a picture, 0 for a filler that only completes the batch."""
    proposals: Proposals | None = None
    """Regions from outside the network, for the methods that need them; Faster R-CNN makes its own."""

    @property
    def regions(self) -> Proposals:
        """The proposals that came with the pictures; raises ValueError where none did."""
        if self.proposals is None:
            raise ValueError("the batch carries no proposals, and this method makes none itself")
        return self.proposals


@dataclass(frozen=True)
class Targets:
    """The truth of a batch, padded to G boxes a picture with unit boxes, in pixels of the resized picture."""

    boxes: Float[Tensor, "B G 4"]
    labels: Int[Tensor, "B G"]
    """1..K; 0, the background, where the row is padding."""
    difficult: Bool[Tensor, "B G"]
    crowd: Bool[Tensor, "B G"]
    valid: Bool[Tensor, "B G"]
    weight: Float[Tensor, "B G"]
    """What an object counts in the loss; 1 unless the data says otherwise."""
    keys: Int[Tensor, "B"]
    """One number a picture, from which its mini-batch sampling is drawn (see `matching.draws`)."""


@dataclass(frozen=True)
class PaddedDetections:
    """The detections of a batch, best first, padded to D a picture, in pixels of the original pictures."""

    boxes: Float[Tensor, "B D 4"]
    scores: Float[Tensor, "B D"]
    labels: Int[Tensor, "B D"]
    valid: Bool[Tensor, "B D"]
    complete: Bool[Tensor, "B"]
    """True where the cap on candidates cannot have changed the answer."""


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first, in that picture's own pixels."""

    boxes: Float[Tensor, "D 4"]
    scores: Float[Tensor, "D"]
    labels: Int[Tensor, "D"]
    """1..K: the class is `class_names[label - 1]`."""
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[label - 1] for label in self.labels.tolist()]

    def above(self, score: float | Float[Tensor, "K"]) -> "Detections":
        """Those with a score of at least `score`, or of at least that of their class where each has its own."""
        keep = self.scores >= (score[self.labels - 1] if isinstance(score, Tensor) else score)
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.class_names)

    def of(self, names: Collection[str]) -> "Detections":
        """Those of some classes."""
        labels = [label for label, name in enumerate(self.class_names, start=1) if name in names]
        keep = torch.isin(self.labels, torch.tensor(labels, dtype=self.labels.dtype))
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.class_names)

    def best(self, count: int) -> "Detections":
        """At most so many of them."""
        return Detections(self.boxes[:count], self.scores[:count], self.labels[:count], self.class_names)


def unpad(padded: PaddedDetections, class_names: Sequence[str]) -> list[Detections]:
    """The ragged detections that a user gets, one object per picture of the batch, on the CPU."""
    host = to_device(padded, "cpu")
    rows = zip(host.boxes, host.scores, host.labels, host.valid, strict=True)
    return [Detections(b[v], s[v], lab[v], tuple(class_names)) for b, s, lab, v in rows]


def take(rows: Shaped[Tensor, "B N *rest"], index: Int[Tensor, "B M"]) -> Shaped[Tensor, "B M *rest"]:
    """Of each picture, the rows that `index` names."""
    shape = (*index.shape, *rows.shape[2:])
    return rows.gather(1, index.reshape(*index.shape, *(1,) * (rows.ndim - 2)).expand(shape))


def to_device(tree: Any, device: torch.device | str) -> Any:
    """Every tensor of a structure on `device`. Copies to the host wait, for they are read next; to a GPU none does."""
    if torch.device(device).type != "cuda":
        return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), tree)
    return pytree.tree_map_only(Tensor, lambda tensor: _pinned(tensor).to(device, non_blocking=True), tree)


def pinned(tree: Any) -> Any:
    """Every tensor of a structure in page-locked memory, from which copies to a GPU need not wait."""
    return pytree.tree_map_only(Tensor, _pinned, tree)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor


for _structure in (Proposals, Batch, Targets, PaddedDetections):
    pytree.register_dataclass(_structure)
