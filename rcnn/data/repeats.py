"""How often a picture comes in an epoch, so that rare classes are seen more often."""

import math
from collections import Counter
from collections.abc import Sequence

from rcnn.sample import Sample


def repeat_factors(samples: Sequence[Sample], threshold: float) -> list[float]:
    """How often each picture shall come, from 1 up: the most that one of its classes asks for.

    A class that a part f of all pictures shows asks for max(1, sqrt(threshold / f)) (LVIS, arXiv 1908.03195,
    appendix B.2). A threshold of 0 asks for nothing.
    """
    shown = Counter(name for sample in samples for name in set(sample.names))
    asked = {name: max(1.0, math.sqrt(threshold * len(samples) / count)) for name, count in shown.items()}
    return [max((asked[name] for name in sample.names), default=1.0) for sample in samples]


def balanced_weights(samples: Sequence[Sample], class_names: Sequence[str]) -> dict[str, float]:
    """What an object of each class counts so that all classes count alike and an object counts 1 in the mean.

    That is objects / (classes * objects of the class), over the classes that occur; a class without any counts 1.
    Crowds are no objects. Rounded to four digits, for these numbers are written down.
    """
    counts: Counter[str] = Counter()
    for sample in samples:
        counts.update(name for name, crowd in zip(sample.names, sample.crowd, strict=True) if not crowd)  # type: ignore[arg-type]
    total, occurring = sum(counts.values()), max(1, len(counts))
    return {name: float(f"{total / (occurring * counts[name]):.4g}") if counts[name] else 1.0 for name in class_names}
