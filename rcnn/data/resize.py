"""From a decoded picture to the network's numbers on its canvas, in one pass."""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from rcnn.compiled import compiled
from rcnn.threads import together

Ends = tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n"]]
"""Along one axis, for each new pixel: the two old ones that it lies between, and how far towards the second."""


def resize(
    picture: UInt8[np.ndarray, "_ _ 3"],
    size: tuple[int, int],
    levels: Float[np.ndarray, "256 3"],
    canvas: Float[np.ndarray, "H W 3"],
) -> None:
    """Write the picture, at a size of height and width, into the upper left corner of a canvas, and zero beyond.

    `levels` are what the 256 levels of each channel stand for. Bilinear between pixel centres, without antialiasing:
    `torch.nn.functional.interpolate(mode="bilinear")` of the same numbers, which torchvision's detectors use.
    """
    height, width = size
    if height > canvas.shape[0] or width > canvas.shape[1]:  # the kernel would write beyond it
        raise ValueError(f"a picture of {height} x {width} on a canvas of {canvas.shape[0]} x {canvas.shape[1]}")
    whole = np.ascontiguousarray(picture)
    rows, columns = ends(whole.shape[0], height), ends(whole.shape[1], width)
    kernel, threads = compiled(_resize), torch.get_num_threads()

    def write(part: int) -> None:
        here = slice(height * part // threads, height * (part + 1) // threads)
        kernel(whole, *(axis[here] for axis in rows), *columns, levels, canvas[here])

    together(write, threads)
    canvas[height:] = 0
    canvas[:height, width:] = 0


def ends(before: int, after: int) -> Ends:
    """Where the pixels of an axis of `after` pixels lie on one of `before`."""
    exact = (np.arange(after) + 0.5) * np.float64(np.float32(before / after)) - 0.5
    centres = np.maximum(exact, 0).astype(np.float32)  # rounded once, as torch's fused multiply-add does
    first = np.minimum(centres.astype(np.int64), before - 1)
    return first, np.minimum(first + 1, before - 1), centres - first.astype(np.float32)


@no_type_check  # shape checks at run time wrap every annotated function, and Numba compiles no wrapper
def _resize(
    picture: np.ndarray,  # [H, W, 3] uint8
    tops: np.ndarray,  # [h] int64
    bottoms: np.ndarray,  # [h] int64
    down: np.ndarray,  # [h] float32
    lefts: np.ndarray,  # [w] int64
    rights: np.ndarray,  # [w] int64
    across: np.ndarray,  # [w] float32
    levels: np.ndarray,  # [256, 3] float32
    canvas: np.ndarray,  # [H, W, 3] float32, written up to h and w
) -> None:
    width, one = picture.shape[1], np.float32(1)
    row = np.empty((width, 3), np.float32)  # what lies between two rows of the picture
    for y in range(len(tops)):
        upper, lower, weight = picture[tops[y]], picture[bottoms[y]], down[y]
        for x in range(width):
            for c in range(3):
                row[x, c] = levels[upper[x, c], c] * (one - weight) + levels[lower[x, c], c] * weight
        for x in range(len(lefts)):
            left, right, share = lefts[x], rights[x], across[x]
            for c in range(3):
                canvas[y, x, c] = row[left, c] * (one - share) + row[right, c] * share
