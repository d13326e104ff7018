"""A data set from one format into another, or predictions into labels."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rcnn.api.data import Data, read_data, split
from rcnn.data import MAX_PIXELS, Format, Policy, draw_splits
from rcnn.data.files import PICTURE_SUFFIXES, files_under
from rcnn.data.places import picture_ids
from rcnn.data.predictions import with_predictions
from rcnn.data.recognise import formats_in
from rcnn.data.writing import WRITERS, Pictures, Written, refuse, write_data
from rcnn.errors import ConfigError, DataError
from rcnn.sample import DataSet, Sample


def convert_data(
    data: Data,
    to: Format,
    out: Path | str,
    *,
    splits: Sequence[str] = (),
    format: Format | None = None,
    predictions: Path | str | None = None,
    score: float = 0.5,
    pictures: Pictures = "copy",
    bad_boxes: Policy = "fail",
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Written:
    """Write a data set of any format into the folder `out`, in another; `splits` are all unless given.

    With `predictions`, a file that `rcnn predict --json` writes, those of at least `score` take the place of the truth;
    `data` may then be a folder of pictures alone. `pictures` are copied, linked, or left where they are. Raises
    ConfigError for an `out` that exists (unless `overwrite`), or lies in the data; DataError for defects.
    """
    out = Path(out)
    if to not in WRITERS:
        close = difflib.get_close_matches(to, WRITERS, n=1)
        raise ConfigError(
            f"to '{to}': not known{f' (did you mean {close[0]}?)' * len(close)}; give {', '.join(WRITERS)}"
        )
    refuse(out, overwrite)
    if not isinstance(data, DataSet):
        _refuse_inside(Path(data), out)
    if predictions is not None and format is None and not isinstance(data, DataSet):
        data = _bare(Path(data)) or data
    dataset = read_data(data, bad_boxes, format, max_pixels, channels=None)
    if splits:
        chosen = {name: split(dataset, name, "--split with one that it has") for name in splits}
        dataset = replace(dataset, splits=chosen)
    told: list[str] = []
    if predictions is not None:
        dataset, told = with_predictions(dataset, Path(predictions), score)
    written = write_data(dataset, to, out, pictures, overwrite, max_pixels)
    return replace(written, notes=(*told, *written.notes))


def _refuse_inside(data: Path, out: Path) -> None:
    """Neither may lie in the other: reading would find both, and overwriting would lose the first."""
    source, target = data.resolve(), out.resolve()
    if data.is_dir() and target.is_relative_to(source):
        raise ConfigError(f"{out}: lies in the data, which would then hold both; give --out a folder elsewhere")
    if source.is_relative_to(target):
        raise ConfigError(f"{out}: holds the data itself; give --out a folder elsewhere")


def _bare(path: Path) -> DataSet | None:
    """The pictures of a folder that shows no sign of labels, split by chance; None where there is one."""
    if not path.is_dir() or formats_in(path):
        return None
    pictures = files_under(path, PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(f"{path}: neither a data set nor a picture in it; give the folder that was predicted on")
    samples = [Sample(name, picture) for picture, name in picture_ids(pictures, path).items()]
    return DataSet(draw_splits(samples), (), drawn=True)
