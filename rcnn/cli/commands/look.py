"""`rcnn look`."""

from pathlib import Path
from typing import Annotated

import typer

from rcnn.cli import options as o
from rcnn.cli.settings import preset_or_default, size_options
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data
from rcnn.presets.overrides import OPTIONS, override
from rcnn.report.words import counted


def look(
    data: o.DataArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", callback=o.writable, help="The picture to write, .png or .jpg.")],
    preset_name: o.PresetName = None,
    count: Annotated[int, typer.Option(min=1, max=400, help="So many pictures.")] = 16,
    epoch: Annotated[int, typer.Option(min=1, help="Those of this epoch.")] = 1,
    size: o.Size = None,
    seed: o.Seed = None,
    train_split: o.TrainSplit = None,
    bad_boxes: o.TrainingBadBoxes = None,
    data_format: o.DataFormat = None,
    config_file: o.ConfigFile = None,
    sets: o.Sets = None,
) -> None:
    """Draw what training sees: pictures as the network gets them, varied, with their objects.

    The settings are those of 'rcnn train'; the same settings draw the same pictures.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg") or out.is_dir():
        raise ConfigError(f"--out {out}: give the name of a picture, such as batch.png")
    options = size_options(size) | {"training.seed": seed}
    config = override(preset_or_default(preset_name), config_file, sets or (), options, OPTIONS)
    refuse_missing_data(data)
    from rcnn import api

    sheet = api.look(data, config, count, epoch, train_split or "train", bad_boxes or "fail", data_format)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    print(f"up to {counted(count, 'picture')} of epoch {epoch} in {out}")
