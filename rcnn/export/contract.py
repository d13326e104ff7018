"""What an exported file must hold to, tried out on every export: the same answers, in batches and alone, on any canvas.

The original and the exported graph look at the same arrays. What they compute on the way is compared stage by stage,
so that a difference is found where it begins. A picture of no extent comes along, in which nothing can be found: an
engine must get by without a single proposal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rcnn.agreement import matched, near
from rcnn.errors import DisagreementError, first_line
from rcnn.export.canvases import Arrays
from rcnn.export.graph import Graph
from rcnn.runtime import OUTPUTS
from rcnn.structures import Detections

Run = Callable[[Arrays], Arrays]
"""An engine with a graph in it: from inputs to outputs, by name."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported graph may be from the original.

    `features`: the largest difference of a feature, as a share of the largest feature; likewise `pooled`. `alike`: the
    least share of proposals, and of detections, that both have within `pixels`, detections also within `score`.
    """

    features: float
    pooled: float
    alike: float
    pixels: float
    score: float


TOLERANCES = {
    "fp32": Tolerance(features=1e-3, pooled=5e-3, alike=0.98, pixels=0.05, score=1e-3),
    "fp16": Tolerance(features=2e-2, pooled=5e-2, alike=0.8, pixels=2.0, score=0.05),
    "bf16": Tolerance(features=0.1, pooled=0.2, alike=0.6, pixels=4.0, score=0.1),
    "int8": Tolerance(features=2.0, pooled=5.0, alike=0.3, pixels=8.0, score=0.25),
}
"""By precision. What AP a lower precision costs, only pictures with their truth can tell."""

TIED = 0.85
"""`alike` where regions are pooled by their maxima: those that round to the same cells tie, and the last digit decides
which of them suppresses the other."""


@dataclass(frozen=True, eq=False)
class Case:
    """The same pictures twice: laid out, for the original, and as the exported graph takes them."""

    name: str
    own: Arrays
    given: Arrays


@dataclass(frozen=True)
class Nearness:
    """How near the exported graph comes, over all cases: differences are the largest, shares the least."""

    features: float
    proposals: float
    pooled: float
    detections: float
    found: int
    """Detections of the original over all cases."""


class Original:
    """The detector itself. It looks at each case once: its detections are kept for those who ask again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._found: dict[Case, dict[str, Tensor]] = {}

    @torch.inference_mode()
    def stages(self, case: Case) -> dict[str, Tensor]:
        """The detections and what led to them, as `Pass.named` names them; computed anew."""
        found = self._graph(**{name: torch.from_numpy(array) for name, array in case.own.items()})
        self._found[case] = {name: found[name] for name in OUTPUTS}
        return found

    def detections(self, case: Case) -> dict[str, Tensor]:
        """The detections alone, as they were when the case was looked at."""
        return self._found[case] if case in self._found else self.stages(case)


def hold(original: Original, run: Run, cases: Sequence[Case], tolerance: Tolerance) -> Nearness:
    """Compare all cases; raises DisagreementError, naming case and stage, where the contract is broken."""
    results = [_compare(original, run, case, tolerance) for case in cases]
    return Nearness(
        max(result.features for result in results),
        min(result.proposals for result in results),
        max(result.pooled for result in results),
        min(result.detections for result in results),
        sum(result.found for result in results),
    )


def cases_of(canvases: Sequence[Arrays], batch: int | None) -> list[Case]:
    """Of the four pictures of each canvas: all together, the first alone, and the last alone, which has no extent.

    A graph of a fixed batch takes so many of the first three, and then as many with the last among them.
    """
    cases = []
    for arrays in map(without_extent, canvases):
        seen = [place % 3 for place in range(batch or 1)]
        chosen = ([0, 1, 2, 3], [0], [3]) if batch is None else (seen, [*seen[:-1], 3])
        for places in chosen:
            some = {name: array[places] for name, array in arrays.items()}
            cases.append(Case(f"{len(places)} of {_size(some)}", some, some))
    return cases


def single_cases(own: Sequence[Arrays], given: Sequence[Arrays]) -> list[Case]:
    """Pictures one by one, for a graph that lays them out itself."""
    return [Case(f"1 of {_size(one)}", one, other) for one, other in zip(own, given, strict=True)]


def without_extent(arrays: Arrays) -> Arrays:
    """The same with the last picture's size set to zero: whatever is proposed there has no area."""
    sizes = arrays["sizes"].copy()
    sizes[-1] = 0
    return {**arrays, "sizes": sizes}


def _size(arrays: Arrays) -> str:
    """The canvas, in words."""
    shape = arrays["images"].shape
    height, width = shape[2:] if arrays["images"].dtype == np.float32 else shape[1:3]
    return f"{height} x {width}"


def hold_file(original: Original, run: Run, cases: Sequence[Case], tolerance: Tolerance) -> None:
    """Compare the detections of a file as it is written; raises DisagreementError as `hold` does."""
    for case in cases:
        own, other = original.detections(case), _answer(run, case)
        try:
            _same_shapes(own, other)
            for place in range(len(own["count"])):
                _detections(own, other, place, tolerance)
        except AssertionError as error:
            raise _broken(case, error) from error


def _answer(run: Run, case: Case) -> dict[str, Tensor]:
    """What the exported graph gives; raises DisagreementError where that is nothing."""
    try:
        return {name: torch.from_numpy(np.asarray(array)) for name, array in run(case.given).items()}
    except Exception as error:  # engines raise nearly anything
        raise DisagreementError(
            f"the exported graph fails, {case.name}: {first_line(error)}; nothing is written"
        ) from error


def _broken(case: Case, error: AssertionError) -> DisagreementError:
    return DisagreementError(f"the exported graph does not compute the same, {case.name}: {error}; nothing is written")


@torch.inference_mode()
def _compare(original: Original, run: Run, case: Case, tolerance: Tolerance) -> Nearness:
    own, other = original.stages(case), _answer(run, case)
    try:
        _same_shapes(own, other)
        levels = [name for name in own if name.startswith("features.")]
        features = max(near(other[name], own[name], tolerance.features, name) for name in levels)
        partners = _partners(own, other, tolerance.pixels)
        proposals = _share(partners, own["regions_valid"], other["regions_valid"], tolerance.alike)
        pooled = _pooled(own, other, partners, tolerance.pooled)
        detections = min(_detections(own, other, place, tolerance) for place in range(len(own["count"])))
    except AssertionError as error:
        raise _broken(case, error) from error
    return Nearness(features, proposals, pooled, detections, int(own["count"].sum()))


def _same_shapes(own: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name in OUTPUTS:
        if own[name].shape != other[name].shape:
            raise AssertionError(f"{name} is {tuple(other[name].shape)}, not {tuple(own[name].shape)}")
        if not bool(other[name].isfinite().all()):
            raise AssertionError(f"{name} has values that are no numbers")


def _partners(own: dict[str, Tensor], other: dict[str, Tensor], pixels: float) -> Int[Tensor, "B P"]:
    """For each of the original's proposals the exported graph's nearest one, -1 where none is within `pixels`."""
    nearest = []
    for ours, theirs, valid, there in zip(
        own["regions"], other["regions"], own["regions_valid"], other["regions_valid"], strict=True
    ):
        apart = torch.cdist(ours, theirs, p=torch.inf).masked_fill(~there, torch.inf)  # [P, P]
        distance, place = apart.min(dim=1)
        nearest.append(torch.where(valid & (distance <= pixels), place, -1))
    return torch.stack(nearest)


def _share(partners: Int[Tensor, "B P"], valid: Bool[Tensor, "B P"], there: Bool[Tensor, "B P"], least: float) -> float:
    """The share of proposals that both have, of the more that one of them has; a proposal is one partner at most."""
    both = sum(len(row[row >= 0].unique()) for row in partners)
    most = max(int(valid.sum()), int(there.sum()))
    share = both / most if most else 1.0
    if share < least:
        raise AssertionError(f"only {share:.1%} of the proposals are the same, wanted {least:.0%}")
    return share


def _pooled(own: dict[str, Tensor], other: dict[str, Tensor], partners: Int[Tensor, "B P"], most: float) -> float:
    """The difference of what the head sees of the regions that both have."""
    if not len(own["pooled"]):
        return 0.0
    mine = own["pooled"].unflatten(0, partners.shape)[partners >= 0]
    theirs = other["pooled"].unflatten(0, partners.shape)
    theirs = torch.stack([rows[place.clamp(min=0)] for rows, place in zip(theirs, partners, strict=True)])
    return near(theirs[partners >= 0], mine, most, "pooled features") if len(mine) else 0.0


def _detections(own: dict[str, Tensor], other: dict[str, Tensor], place: int, tolerance: Tolerance) -> float:
    ours, theirs = _of(own, place), _of(other, place)
    if not len(ours) and not len(theirs):
        return 1.0
    return matched(theirs, ours, tolerance.alike, tolerance.pixels, tolerance.score)


def _of(outputs: dict[str, Tensor], place: int) -> Detections:
    count = int(outputs["count"][place])
    boxes: Float[Tensor, "D 4"] = outputs["boxes"][place, :count]
    return Detections(boxes, outputs["scores"][place, :count], outputs["labels"][place, :count], ())
