"""Greedy non-maximum suppression of a batch, in groups, with an output of fixed size.

The contract is `nms`; `nms_reference` says plainly what it does; the kernels behind it only do so faster.
"""

import logging
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.errors import first_line
from rcnn.ops.nms_numba import nms_numba
from rcnn.ops.reference import nms_reference

_log = logging.getLogger(__name__)


def nms(
    boxes: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    groups: Int[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    threshold: float,
    k: int,
) -> tuple[Int[Tensor, "B k"], Bool[Tensor, "B k"]]:
    """The best `k` boxes of each picture that no better box of the same group overlaps by more than `threshold`.

    Returns their indices, best first, and which of the k places are filled; an empty place has index 0.
    Groups are small numbers from 0. Equal scores are taken in the order given. Boxes that are not `valid`, or have no
    finite score, never count. Boxes are compared in single precision.
    """
    return torch.ops.rcnn.nms(boxes, scores, groups, valid, threshold, k)


@torch.library.custom_op("rcnn::nms", mutates_args=())
def _nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, k: int
) -> tuple[Tensor, Tensor]:
    return _kernel(boxes.device.type)(boxes.float(), scores, groups, valid, threshold, k)


@cache
def _kernel(device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """What is fastest there."""
    if device == "cuda":
        return _triton() or nms_reference
    return nms_numba if device == "cpu" else nms_reference


def _triton() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """Triton comes with torch where torch knows CUDA, takes a while to import, and wants a C compiler."""
    try:
        from rcnn.ops.nms_triton import nms_triton

        one = torch.ones(1, 1, device="cuda")
        nms_triton(one[..., None].expand(1, 1, 4), one, one.long(), one > 0, 0.5, 1)
    except Exception as error:  # each thing that is missing is told in another way
        _log.warning("suppression of overlaps is slow here, for Triton cannot be used: %s", first_line(error))
        return None
    return nms_triton


@_nms.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float, k: int) -> tuple[Tensor, Tensor]:
    shape = (boxes.shape[0], k)
    return boxes.new_empty(shape, dtype=torch.int64), boxes.new_empty(shape, dtype=torch.bool)


def _no_gradient(ctx: object, *grads: Tensor) -> tuple[None, ...]:
    """Which boxes survive is a choice, not a function with a slope."""
    return (None,) * 6


_nms.register_autograd(_no_gradient)
