"""Regions cut out of the picture and warped to one size: what R-CNN's network sees."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def warp(
    images: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B P 4"], size: int, context: int
) -> Float[Tensor, "B*P C size size"]:
    """Each box with `context` pixels (of the result) around it, as a `size` x `size` picture.

    The aspect ratio is ignored; bilinear, without antialiasing; what lies outside of the picture is zero, which in a
    normalised picture is the mean (R-CNN, appendix A). Boxes are in pixels of the images.
    """
    height, width = images.shape[2:]
    low, high = _with_context(boxes, size, context)
    places = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size  # centres, in parts of the box
    points = low[..., None] + places * (high - low)[..., None]  # [B, P, 2, size], pixels
    x, y = points[:, :, 0], points[:, :, 1]
    x, y = 2 * x / width - 1, 2 * y / height - 1  # as grid_sample counts
    rows, columns = y[..., :, None].expand(-1, -1, -1, size), x[..., None, :].expand(-1, -1, size, -1)
    grid = torch.stack((columns, rows), dim=-1).flatten(1, 2)  # [B, P * size, size, 2]
    crops = F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)


def _with_context(boxes: Tensor, size: int, context: int) -> tuple[Tensor, Tensor]:
    """The upper left and lower right corners, [B, P, 2], of boxes grown about their centres, on whole pixels."""
    scale = size / (size - 2 * context)
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2 * scale
    return (centre - half).round(), (centre + half).round()
