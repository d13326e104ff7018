"""`rcnn look`: the pictures of an epoch as the network gets them."""

import numpy as np
import pytest
import torch
from conftest import TINY_SETS, shape_data, tiny_config
from PIL import Image

from rcnn import api, build
from rcnn.api.looking import SIDE, drawn_pictures, shown
from rcnn.cli import main
from rcnn.inference.draw import class_colour

VARIED = ["--set", "mosaic=0.5", "--set", "colour=0.5", "--set", "scale_jitter=[0.5, 2.0]"]


def opened(file):
    with Image.open(file) as image:
        return np.asarray(image)


def words(voc, out, *more):
    return ["look", str(voc), "--preset", "demo", *TINY_SETS, "--out", str(out), *more]


def test_a_sheet_of_varied_pictures_is_drawn_and_the_same_settings_draw_the_same(voc, tmp_path, capsys, quiet_log):
    for name, more in (("a", []), ("b", []), ("seed", ["--seed", "5"]), ("epoch", ["--epoch", "2"])):
        assert main(words(voc, tmp_path / f"{name}.png", *VARIED, *more)) == 0
    assert capsys.readouterr().out.startswith(f"up to 16 pictures of epoch 1 in {tmp_path / 'a.png'}\n")
    a, b, seed, epoch = (opened(tmp_path / f"{n}.png") for n in ("a", "b", "seed", "epoch"))
    assert a.shape[1] > 4 * SIDE
    assert (a == b).all()
    for other in (seed, epoch):
        assert a.shape != other.shape or (a != other).any()


def test_objects_are_outlined_in_the_colour_of_their_class_on_the_picture_that_trains():
    data, config = shape_data(2, 0), tiny_config(flip=1.0)
    batches = build.batches(config, data.splits["train"], data.class_names)
    (item,) = batches.epoch(1)
    first = next(drawn_pictures(batches, data.class_names, 1))
    scale = first.width / item.batch.images.shape[3]
    pixels = np.asarray(first)
    for box, label in zip(item.targets.boxes[0][:2], item.targets.labels[0][:2].tolist(), strict=True):
        x1, _, _, y2 = (box * scale).round().long().tolist()
        assert tuple(pixels[y2 - 1, x1 + 3]) == class_colour(label)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_of_other_channels_are_shown_by_the_first(channels):
    image = torch.rand(channels, 4, 6, generator=torch.Generator().manual_seed(0))
    found = shown(image, (0.0,) * channels, (1.0,) * channels)
    assert found.shape == (4, 6, 3)
    assert (found[..., 0] == (image[0] * 255).round().numpy()).all()


def test_fewer_pictures_may_be_asked_for(voc, tmp_path, quiet_log):
    assert main(words(voc, tmp_path / "few.png", "--count", "1")) == 0
    assert opened(tmp_path / "few.png").shape[1] < 2 * SIDE


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "sheet"], "--out sheet: give the name of a picture, such as batch.png"),
        (["--train-split", "no"], "split 'no': the data has"),
        (["--set", "regions=ohem", "--set", "model.method=rcnn"], "model.neck: rcnn reads one map"),
    ],
)
def test_wrong_use_is_one_line(voc, tmp_path, capsys, quiet_log, more, message):
    assert main(words(voc, tmp_path / "sheet.png", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()


def test_the_sheet_is_a_function_too():
    assert api.look(shape_data(3, 0), tiny_config(), count=3).width > 3 * SIDE
