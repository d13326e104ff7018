"""Proposals that another program wrote as COCO's results; their classes, if they have any, play no part."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from rcnn.data.coco_results import read_results
from rcnn.data.known import KnownPictures
from rcnn.data.splits import every_sample
from rcnn.errors import DataError
from rcnn.sample import DataSet

ByKey = dict[str, Float[np.ndarray, "..."]]


def read_coco_results(path: Path, dataset: DataSet | None) -> tuple[ByKey, ByKey]:
    """Boxes and scores by sample id, best first; pictures that the data set does not have are left out.

    A picture is known by `file_name` where an entry has one, else by `image_id`: the number in the data's COCO file,
    the sample's id, or the name of its file without the suffix. Raises DataError for a file that is no such list, or
    in which none of the pictures is known.
    """
    rows: dict[str, list[list[float]]] = {}
    pictures = None if dataset is None else KnownPictures(every_sample(dataset))
    named: object = None
    for result in read_results(path):
        named, (x1, y1, x2, y2) = result.picture, result.box
        if x1 >= x2 or y1 >= y2:
            raise DataError(f"{result.where}: bbox has no area; leave it out")
        key = str(named) if pictures is None else pictures.find(named)
        if key is not None:
            rows.setdefault(key, []).append([*result.box, result.score])
    if named is not None and not rows:
        raise DataError(
            f"{path}: picture {named!r} is not in the data, nor is any other; give the data it was made for"
        )
    boxes, scores = {}, {}
    for key, part in rows.items():
        table = np.array(part)
        table = table[np.argsort(-table[:, 4], kind="stable")]
        boxes[key], scores[key] = table[:, :4].astype(np.float32), table[:, 4].astype(np.float32)
    return boxes, scores
