"""Detections in the hands of other tools: as labels of any format, or as supervision's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rcnn.choices import Format
from rcnn.data.writing import Written, write_data
from rcnn.errors import ConfigError, DataError
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections


def write_detections(found: Mapping[Path, Detections], out: Path, format: Format) -> Written:
    """Write what was found in picture files as a data set with one split, `train`, for people to look through.

    The pictures are copied. Scores have no place in labels and are lost. Raises DataError for no pictures, and for
    detectors of different classes; ConfigError for a folder that exists.
    """
    classes = {one.class_names for one in found.values()}
    if len(classes) != 1:
        raise DataError(f"{out}: detections of {len(classes)} lists of classes; give those of one detector")
    samples = [Sample(file.stem, file, one.boxes.numpy(), tuple(one.names)) for file, one in found.items()]
    return write_data(DataSet({"train": samples}, classes.pop()), format, out)


def to_supervision(found: Detections) -> Any:
    """The same as `supervision.Detections`, classes counted from 0, names under `class_name`.

    Raises ConfigError where supervision is not installed.
    """
    try:
        from supervision import Detections as Supervised
    except ImportError as error:
        raise ConfigError(f"supervision is not installed ({error}); pip install supervision") from error
    return Supervised(
        xyxy=found.boxes.numpy(),
        confidence=found.scores.numpy(),
        class_id=found.labels.numpy() - 1,
        data={"class_name": found.names},
    )
