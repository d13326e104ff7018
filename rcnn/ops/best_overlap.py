"""What each candidate box overlaps most, and which candidates an object is overlapped most by.

The contract is `best_overlap`; `best_overlap_reference` says plainly what it does, and serves GPUs; the
CPU has a kernel of its own.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.ops.best_overlap_numba import best_overlap_numba
from rcnn.ops.reference import best_overlap_reference

Overlaps = tuple[Float[Tensor, "B N"], Int[Tensor, "B N"], Bool[Tensor, "B N"], Bool[Tensor, "B N"]]
"""IoU, index, best, ignored: see `best_overlap`."""


def best_overlap(
    candidates: Float[Tensor, "_ N 4"],
    boxes: Float[Tensor, "B G 4"],
    teaches: Bool[Tensor, "B G"],
    skipped: Bool[Tensor, "B G"],
    usable: Bool[Tensor, "B N"] | None = None,
) -> Overlaps:
    """Candidates, one set a picture or one for all, against the boxes of each picture.

    The highest IoU with a box that `teaches`, and that box: the first of equal ones, 0 where there is none. Whether no
    other candidate overlaps some such box more; ties are all best. Whether at least half of the candidate lies in a box
    that is `skipped`. A box that is neither takes no part; what is not `usable` overlaps nothing. No gradient.
    """
    return torch.ops.rcnn.best_overlap(candidates, boxes, teaches, skipped, usable)


@torch.library.custom_op("rcnn::best_overlap", mutates_args=())
def _best_overlap(
    candidates: Tensor, boxes: Tensor, teaches: Tensor, skipped: Tensor, usable: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kernel = best_overlap_numba if boxes.device.type == "cpu" else best_overlap_reference
    return kernel(candidates, boxes, teaches, skipped, usable)


@_best_overlap.register_fake
def _(
    candidates: Tensor, boxes: Tensor, teaches: Tensor, skipped: Tensor, usable: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (boxes.shape[0], candidates.shape[1])
    types = (boxes.dtype, torch.int64, torch.bool, torch.bool)
    iou, index, best, ignored = (boxes.new_empty(shape, dtype=dtype) for dtype in types)
    return iou, index, best, ignored


def _no_gradient(ctx: object, *grads: Tensor) -> tuple[None, ...]:
    """Which box is learned is a choice, not a function with a slope."""
    return (None,) * 5


_best_overlap.register_autograd(_no_gradient)
