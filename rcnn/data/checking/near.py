"""Pictures that look the same though their files differ: scaled, compressed anew, cropped, frames of one film.

The fingerprint is ImageHash's perceptual hash, 256 bits: signs of the low frequencies of the picture in gray. A quarter
of them, the lowest frequencies, are told apart, for a soft picture has nothing but noise in the others. Blood smears,
raccoons and COCO, measured: copies at half the size, at JPEG quality 40, at other brightness, contrast or proportions
differ in at most 20 bits, 5 of them low, cropped by 2 % a side in at most 48 and 10; the nearest two pictures that are
not the same differ in 88, and in 12 low ones.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image

BITS, LOW_BITS = 256, 64
MOST_BITS, MOST_LOW_BITS = 40, 6
"""In which two fingerprints may differ: in so many of all, or in so many of the low frequencies."""

_LOW = np.pad(np.ones((8, 8), bool), (0, 8)).ravel()

FLAT = 2.0
"""Gray levels of deviation: a picture with less shows nothing to compare."""

_ROWS = 2048
"""Fingerprints that are compared at once with all others of another split."""


def fingerprint(glance: Image.Image) -> Bool[np.ndarray, "256"] | None:
    """The perceptual hash of a gray picture, None for one without content."""
    import imagehash

    small = glance.resize((64, 64), Image.Resampling.BOX)
    if np.asarray(small).std() < FLAT:
        return None
    return imagehash.phash(glance, hash_size=16).hash.ravel()


def near_pairs(
    ones: Sequence[str], others: Sequence[str], prints: Mapping[str, Bool[np.ndarray, "256"]]
) -> set[tuple[str, str]]:
    """Pairs of ids, one of `ones` and one of `others`, whose pictures look the same."""
    ones, others = ([one for one in ids if one in prints] for ids in (ones, others))
    if not ones or not others:
        return set()
    signs, against = (_signs([prints[one] for one in ids]) for ids in (ones, others))
    pairs: set[tuple[str, str]] = set()
    for first in range(0, len(ones), _ROWS):
        part = signs[first : first + _ROWS]
        near = part @ against.T >= BITS - 2 * MOST_BITS
        near |= part[:, _LOW] @ against[:, _LOW].T >= LOW_BITS - 2 * MOST_LOW_BITS
        rows, columns = (places.tolist() for places in np.nonzero(near))
        pairs |= {(ones[first + row], others[column]) for row, column in zip(rows, columns, strict=True)}
    return {(one, other) for one, other in pairs if one != other}


def _signs(prints: Sequence[Bool[np.ndarray, "256"]]) -> np.ndarray:
    """Bits as 1 and -1: a product of matrices is the number of those that agree less that of those that differ."""
    return np.where(np.stack(prints), np.float32(1), np.float32(-1))


def groups(pairs: Collection[tuple[str, str]]) -> list[list[str]]:
    """Ids that are joined by pairs, each group sorted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = sorted({one for pair in pairs for one in pair})
    number = {one: place for place, one in enumerate(ids)}
    ends: Int[np.ndarray, "2 P"] = np.array([[number[a], number[b]] for a, b in pairs]).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1].tolist() if ids else []
    parts: dict[int, list[str]] = {}
    for one, label in zip(ids, labels, strict=True):
        parts.setdefault(label, []).append(one)
    return list(parts.values())
