"""What an exported file computes: a method between plain arrays, its preprocessing's arithmetic included."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from rcnn.data.preprocess import Preprocess
from rcnn.methods import FasterRCNN, Method
from rcnn.methods.stages import scored
from rcnn.runtime import OUTPUTS
from rcnn.structures import Batch, PaddedDetections, Proposals

ALL_CHANNELS = 255.0


@dataclass(frozen=True)
class Pass:
    """What a forward pass computes on its way, for comparison of two that shall be the same."""

    features: Sequence[Float[Tensor, "B C _ _"]]
    proposals: Proposals
    pooled: Float[Tensor, "N C h w"]
    """What the head sees of each region; of no region where a method looks at some of them at a time."""
    detections: PaddedDetections

    def named(self) -> dict[str, Tensor]:
        """Each tensor under the name that a graph gives it: first the detections, then what led to them."""
        found = self.detections
        values = (found.boxes, found.scores, found.labels, found.valid.sum(dim=1))
        levels = {f"features.{number}": level for number, level in enumerate(self.features)}
        regions = {"regions": self.proposals.boxes, "regions_valid": self.proposals.valid, "pooled": self.pooled}
        return dict(zip(OUTPUTS, values, strict=True)) | levels | regions


class Graph(nn.Module):
    """A method that takes arrays and gives arrays, all of fixed shape, in pixels of the original pictures.

    Pictures are bytes, rows of RGB pixels, on canvases whose rest is made zero whatever it holds; with
    `normalised` they are what the network takes. A method without an RPN takes regions in canvas pixels, too.
    The graph has weights of its own, laid out channels first: engines choose their own layout, and strides of unknown
    canvases would cost torch.export half of its time. `regions` is the number of regions at most: fewer are filled up,
    so that all that follows is of fixed shape.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: Method,
        preprocess: Preprocess,
        normalised: bool = False,
        with_stages: bool = True,
        regions: int | None = None,
    ) -> None:
        super().__init__()
        self.regions = regions
        self.with_stages = with_stages
        self.model = deepcopy(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.normalised = normalised
        low, high = preprocess.limits or (0.0, ALL_CHANNELS)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
        self.register_buffer("mean", low + mean * (high - low), persistent=False)
        self.register_buffer("deviation", deviation * (high - low), persistent=False)

    def forward(
        self,
        images: Shaped[Tensor, "B ..."],
        sizes: Int[Tensor, "B 2"],
        original_sizes: Int[Tensor, "B 2"],
        proposals: Float[Tensor, "B P 4"] | None = None,
        proposals_valid: Bool[Tensor, "B P"] | None = None,
    ) -> dict[str, Tensor]:
        """The detections by name, and with `with_stages` what led to them."""
        given = {} if proposals is None else {"proposals": proposals, "proposals_valid": proposals_valid}
        batch = self.batch({"images": images, "sizes": sizes, "original_sizes": original_sizes} | given)
        found = passed(self.model, batch).named()
        return found if self.with_stages else {name: found[name] for name in OUTPUTS}

    def batch(self, inputs: Mapping[str, Any]) -> Batch:
        """The graph's inputs, by their names, as the method takes them."""
        images, sizes = inputs["images"], inputs["sizes"]
        shown = images if self.normalised else self._seen(images, sizes)
        given = self._filled(inputs["proposals"], inputs["proposals_valid"]) if "proposals" in inputs else None
        return Batch(shown, sizes, inputs["original_sizes"], shown.new_ones(shown.shape[0]), given)

    def _seen(self, images: Shaped[Tensor, "B H W C"], sizes: Int[Tensor, "B 2"]) -> Float[Tensor, "B C H W"]:
        """The network's numbers, zero beyond each picture."""
        values = (images.permute(0, 3, 1, 2).contiguous().to(self.mean.dtype) - self.mean) / self.deviation
        rows, columns = (torch.arange(values.shape[axis], device=values.device) for axis in (2, 3))
        inside = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])  # [B, H, W]
        return torch.where(inside[:, None], values, 0)

    def _filled(self, boxes: Float[Tensor, "B P 4"], valid: Bool[Tensor, "B P"]) -> Proposals:
        """The regions, filled up with places that count nothing."""
        assert self.regions is not None
        room = self.regions - boxes.shape[1]
        valid = F.pad(valid, (0, room))
        return Proposals(F.pad(boxes, (0, 0, 0, room)), valid.to(boxes.dtype), valid)


def passed(model: Method, batch: Batch) -> Pass:
    """A forward pass by the method's own parts, with what it computes on its way."""
    features = model.features(batch.images)
    proposals = model.rpn(features, batch, model.limits) if isinstance(model, FasterRCNN) else batch.regions
    pooled, scores, deltas = scored(model, features, proposals)
    return Pass(features, proposals, pooled, model.postprocess(proposals, scores, deltas, batch))


def set_limits(model: Method, score: float | None, nms: float | None, detections: int | None) -> None:
    """Let a network's detections be limited otherwise from now on: what is None stays."""
    given: dict[str, Any] = {"score": score, "nms": nms, "detections": detections}
    model.postprocess = replace(model.postprocess, **{key: value for key, value in given.items() if value is not None})
