"""RoI pooling, spatial pyramid pooling and RoIAlign, forward and backward, each in turn with the other way to do it.

RoI pooling is measured against `torchvision.ops.roi_pool`; spatial pyramid pooling, which torchvision lacks, against
`adaptive_max_pool2d` of each region's crop; RoIAlign of boxes with a gradient against the same without. Nothing is
timed before both have given the same values and the same gradients.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d
from torchvision.ops import roi_pool as torchvision_roi_pool

from rcnn.ops import roi_align, roi_pool, spp
from rcnn.ops.spp import spp_bins

Pool = Callable[[Tensor], Tensor]
"""From features to what was pooled of them."""
STRIDE = 16
BINS = (1, 2, 3, 6)


def random_boxes(count: int, height: int, width: int) -> Tensor:
    """Boxes on a map of so many cells, their corners anywhere on it, [1, count, 4]."""
    corners = torch.rand(1, count, 2, 2).sort(dim=2).values * torch.tensor([width, height]) * STRIDE
    return corners.flatten(2)


def spp_of_crops(features: Tensor, boxes: Tensor, levels: Tensor) -> Tensor:
    """Spatial pyramid pooling with what torch offers: region by region, grid by grid."""
    regions = spp_bins([tuple(features.shape[2:])], boxes, levels, (STRIDE,), (1,))[0, :, 0].tolist()
    crops = [features[:, :, top:bottom, left:right] for top, bottom, left, right in regions]
    return torch.cat([torch.cat([adaptive_max_pool2d(crop, n).flatten(2) for n in BINS], dim=2) for crop in crops])


def forward_and_backward(pool: Pool, features: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """What was pooled, the gradient of its sum, and the seconds of each."""
    features = features.detach().requires_grad_()
    began = time.perf_counter()
    pooled = pool(features)
    forward = time.perf_counter() - began
    cotangent = torch.ones_like(pooled)
    began = time.perf_counter()
    (grad,) = torch.autograd.grad(pooled, features, cotangent)
    return pooled.detach(), grad, forward, time.perf_counter() - began


def check(base: tuple[Pool, Tensor], others: Sequence[tuple[Pool, Tensor]]) -> None:
    """Fail unless all give what the first gives, in its type."""
    expected = forward_and_backward(*base)
    for pool, features in others:
        pooled, grad, *_ = forward_and_backward(pool, features)
        near = {"rtol": 0.02, "atol": 0.02} if features.dtype != torch.float32 else {"rtol": 1e-5, "atol": 1e-4}
        torch.testing.assert_close(pooled.float(), expected[0].to(features.dtype).float(), **near)
        if features.dtype == torch.float32:  # in half precision other cells are alike
            torch.testing.assert_close(grad, expected[1], **near)


def compare(variants: dict[str, tuple[Pool, Tensor]], rounds: int) -> None:
    """Time the variants in turn and print them; the first is what the others are compared with."""
    first, *others = variants.values()
    check(first, others)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(forward_and_backward(*variant)[2:])
    base = [sum(pair) for pair in next(iter(times.values()))]
    for name, pairs in times.items():
        forward, backward = (1000 * statistics.median(part) for part in zip(*pairs, strict=True))
        ratio = statistics.median(b / sum(pair) for b, pair in zip(base, pairs, strict=True))
        print(f"{name:34} forward {forward:6.1f} ms  backward {backward:6.1f} ms  ratio {ratio:5.2f}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=300)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--map", type=int, nargs=2, default=(38, 50), metavar=("HEIGHT", "WIDTH"), help="in cells")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def max_pools(base: str, ours: str, other: Pool, pool: Pool, plain: Tensor) -> dict[str, tuple[Pool, Tensor]]:
    """Another way to pool, and our operator on each layout and type of the features."""
    last = plain.contiguous(memory_format=torch.channels_last)
    return {
        base: (other, plain),
        f"{ours}, channels first": (pool, plain),
        f"{ours}, channels last": (pool, last),
        f"{ours}, channels last, bf16": (pool, last.bfloat16()),
    }


def main() -> None:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = torch.randn(1, args.channels, *args.map)
    boxes, levels = random_boxes(args.regions, *args.map), torch.zeros(1, args.regions, dtype=torch.int64)
    strides, moving = (STRIDE,), boxes.clone().requires_grad_()
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{versions}, {args.threads} threads, {os.cpu_count()} cores")

    def theirs(features: Tensor) -> Tensor:
        return torchvision_roi_pool(features, [boxes[0]], 7, 1 / STRIDE)

    regions = max_pools(
        "torchvision.ops.roi_pool", "roi_pool", theirs, lambda f: roi_pool([f], boxes, levels, strides), plain
    )
    crops, pyramid = (lambda f: spp_of_crops(f, boxes, levels)), (lambda f: spp([f], boxes, levels, strides, BINS))
    pyramids = max_pools("adaptive_max_pool2d of each crop", "spp", crops, pyramid, plain)
    last = plain.contiguous(memory_format=torch.channels_last)
    aligned = {
        "roi_align, constant boxes": (lambda f: roi_align([f], boxes, levels, strides), last),
        "roi_align, boxes with a gradient": (lambda f: roi_align([f], moving, levels, strides), last),
    }
    compare(regions, args.rounds)
    compare(pyramids, max(args.rounds // 5, 1))  # 1,200 small calls a round
    compare(aligned, args.rounds)


if __name__ == "__main__":
    main()
