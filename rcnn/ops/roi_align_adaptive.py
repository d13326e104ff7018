"""RoIAlign with as many sample points in a bin as it has cells: detectron2's `sampling_ratio` 0, by torchvision."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import roi_align as torchvision_roi_align

from rcnn.ops.levels import Strides


def roi_align_adaptive(
    pyramid: Sequence[Float[Tensor, "B C _ _"]],
    boxes: Float[Tensor, "B P 4"],
    levels: Int[Tensor, "B P"],
    strides: Strides,
    size: int,
    aligned: bool,
) -> Float[Tensor, "B*P C size size"]:
    """`rcnn.ops.roi_align` whose bins of h x w cells take ceil(h) x ceil(w) samples; boxes get no gradient.

    Each level looks at all regions, those of other levels shrunk to a point: shapes follow from settings alone, and
    nothing waits for the device.
    """
    regions, level = boxes.flatten(0, 1), levels.flatten()
    picture = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])[:, None]
    pooled = pyramid[0].new_zeros(len(regions), pyramid[0].shape[1], size, size)
    for number, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
        here = (level == number) & regions.isfinite().all(dim=1)  # a size that is not finite would never end
        rows = torch.cat((picture.to(regions.dtype), torch.where(here[:, None], regions, 0)), dim=1)
        wide = features.to(torch.promote_types(features.dtype, torch.float32))  # the CPU's kernel knows no bf16
        read = torchvision_roi_align(wide, rows.to(wide.dtype), size, 1 / stride, 0, aligned)
        pooled = torch.where(here[:, None, None, None], read.to(pooled.dtype), pooled)
    return pooled.contiguous(memory_format=torch.channels_last)
