"""What a data set holds, in numbers: pictures and boxes by split and class, and boxes as the network meets them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from rcnn.api.checking.audit import groups_of
from rcnn.api.checking.boxes import InputBoxes
from rcnn.data import every_sample
from rcnn.sample import DataSet, Sample

PARTS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The quantiles that are told: the least, the middle half, the greatest, and nine tenths between."""

Quantiles = dict[str, float]


@dataclass(frozen=True)
class Part:
    """What one split holds."""

    pictures: int
    empty: int
    """Pictures without objects, which teach what is background."""
    boxes: int
    crowd: int
    difficult: int
    classes: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """What a data set holds; the shapes of boxes are those at the input scale, crowds left out."""

    whole: Part
    splits: dict[str, Part]
    drawn: bool
    """Whether the splits were drawn by chance, for the data has none."""
    short: int
    long: int
    """The sides that pictures are resized to."""
    per_picture: Quantiles
    sides: Quantiles
    """Of squares of the boxes' areas, in pixels."""
    ratios: Quantiles
    """Heights over widths."""
    sizes: dict[str, int]
    """Small, medium and large objects by COCO's bounds."""
    octaves: dict[int, int]
    """Objects by side, up to so many pixels."""

    def to_json(self) -> dict[str, Any]:
        """For `rcnn check --json`, beside what stands at its top."""
        return {
            "empty": self.whole.empty,
            "crowd": self.whole.crowd,
            "difficult": self.whole.difficult,
            "splits_drawn": self.drawn,
            "input": {"short": self.short, "long": self.long},
            "boxes_per_picture": self.per_picture,
            "box_sides": self.sides,
            "aspect_ratios": self.ratios,
            "sizes": self.sizes,
            "sides_up_to": {str(side): count for side, count in self.octaves.items()},
        }


def summarised(dataset: DataSet, found: InputBoxes, input_sides: tuple[int, int]) -> Summary:
    """The summary of a data set; `found` are its objects at the scale of the network's input."""
    samples = every_sample(dataset)
    counted = found.keep(found.counted)
    return Summary(
        whole=part_of(samples, dataset.class_names),
        splits={split: part_of(part, dataset.class_names) for split, part in dataset.splits.items()},
        drawn=dataset.drawn,
        short=input_sides[0],
        long=input_sides[1],
        per_picture=quantiles(np.array([len(sample.names) for sample in samples], float)),
        sides=quantiles(counted.sides),
        ratios=quantiles(counted.ratios),
        sizes={name: int(rows.sum()) for name, rows in groups_of(counted.sides).items()},
        octaves=_octaves(counted.sides),
    )


def part_of(samples: Sequence[Sample], class_names: Sequence[str]) -> Part:
    """What some samples hold; classes without objects are counted too."""
    count = Counter(name for sample in samples for name in sample.names)
    return Part(
        len(samples),
        sum(not sample.names for sample in samples),
        count.total(),
        _marked(samples, "crowd"),
        _marked(samples, "difficult"),
        {name: count[name] for name in class_names},
    )


def _marked(samples: Sequence[Sample], flag: str) -> int:
    return sum(int(getattr(sample, flag).sum()) for sample in samples)


def quantiles(values: Float[np.ndarray, "N"]) -> Quantiles:
    """By their name in per cent: `0`, `5`, ... `100`; none of nothing."""
    if not len(values):
        return {}
    rows = zip(PARTS, np.quantile(values, PARTS).tolist(), strict=True)
    return {f"{round(100 * part)}": round(value, 3) for part, value in rows}


def _octaves(sides: Float[np.ndarray, "G"]) -> dict[int, int]:
    """How many sides are under 8, 16, 32 ... pixels and not under half of that, where there are any."""
    if not len(sides):
        return {}
    place = np.maximum(np.floor(np.log2(np.maximum(sides, 1e-3))).astype(int), 2)
    return {2 ** (octave + 1): int((place == octave).sum()) for octave in range(place.min(), place.max() + 1)}


def as_rows(splits: Mapping[str, Part]) -> dict[str, Any]:
    """Splits for `rcnn check --json`."""
    return {name: asdict(part) for name, part in splits.items()}
