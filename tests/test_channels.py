"""Pictures of other than three channels of eight bits: read, checked, trained on, drawn (USERS.md 24)."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, prepare, shape_data, shape_sample, write_voc
from PIL import Image
from torch.nn import functional as F

from rcnn import api, build
from rcnn.backbones import load_backbone_weights, network
from rcnn.backbones.channels import inflated
from rcnn.cli import main
from rcnn.data import every_sample, open_data
from rcnn.data.arrays import array_shape, read_array
from rcnn.data.checking import check_pictures
from rcnn.data.picture import picture_size, read_picture, read_pixels, resolve, verify_picture
from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import on_device
from rcnn.data.shown import as_shown
from rcnn.errors import ConfigError, DataError
from rcnn.inference.draw import draw
from rcnn.presets.overrides import override, preset
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections

RNG = np.random.default_rng(0)
SIZE = (20, 30)


def deep(channels, dtype=np.uint16, size=SIZE):
    """Values over the whole range of a type."""
    high = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return (RNG.random((*size, channels)) * high).astype(dtype)


def config_for(channels, **more):
    return override(preset("demo"), None, (), TINY | {"input.channels": channels, "training.epochs": 1} | more)


def converted(dataset, convert, names=""):
    """The data set with each picture put through `convert`."""
    splits = {
        name: [replace(sample, picture=convert(sample.picture)) for sample in part]
        for name, part in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def gray16(rgb):
    return (rgb.astype(np.uint32).sum(axis=2, keepdims=True) * 85).astype(np.uint16)


def five(rgb):
    return np.concatenate((rgb, rgb[..., :2] // 2), axis=2)


# -- reading


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_numpys_files_are_read_as_they_are(tmp_path, channels, dtype):
    array = deep(channels, dtype)
    np.save(tmp_path / "a.npy", array)
    read = read_pixels(tmp_path / "a.npy", channels)
    assert read.dtype == dtype
    assert np.array_equal(read, array)
    assert picture_size(tmp_path / "a.npy") == verify_picture(tmp_path / "a.npy", channels=channels).shown == SIZE


def test_a_flat_array_is_one_channel(tmp_path):
    np.save(tmp_path / "a.npy", deep(1)[..., 0])
    assert read_pixels(tmp_path / "a.npy", 1).shape == (*SIZE, 1)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_of_five_channels_is_read_from_samples_or_planes(tmp_path, dtype, planar):
    tifffile = pytest.importorskip("tifffile")
    array, path = deep(5, dtype), tmp_path / "a.tif"
    stored = array.transpose(2, 0, 1) if planar else array
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig="separate" if planar else "contig")
    assert np.array_equal(read_pixels(path, 5), array)
    assert picture_size(path) == array_shape(path)[:2] == verify_picture(path, channels=5).shown == SIZE


def test_a_tiff_of_pages_is_read_as_channels(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    array = deep(4)
    tifffile.imwrite(tmp_path / "a.tif", array.transpose(2, 0, 1), photometric="minisblack")
    assert np.array_equal(read_array(tmp_path / "a.tif"), array)


def test_colours_of_16_bits_are_read_in_8_from_pictures_and_in_16_from_arrays(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    array = deep(3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(read_pixels(tmp_path / "a.tif", 3), read_picture(tmp_path / "a.tif"))
    assert abs(read_pixels(tmp_path / "a.tif", 3).astype(int) - array // 257).max() <= 1
    assert np.array_equal(read_pixels(tmp_path / "a.npy", 3), array)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_keeps_its_bits_as_one_channel_and_is_8_bit_rgb_as_three(tmp_path, suffix):
    array, path = deep(1), tmp_path / f"a{suffix}"
    Image.fromarray(array[..., 0]).save(path)
    assert np.array_equal(read_pixels(path, 1), array)
    assert np.array_equal(read_pixels(path, 3), read_picture(path))
    assert read_pixels(path, 3).dtype == np.uint8


def test_gray_colour_and_transparent_files_give_the_channels_that_are_asked_for(tmp_path):
    colour = deep(4, np.uint8)
    Image.fromarray(colour).save(tmp_path / "rgba.png")
    Image.fromarray(colour[..., :3]).save(tmp_path / "rgb.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "gray.png")
    assert np.array_equal(read_pixels(tmp_path / "rgba.png", 4), colour)
    assert np.array_equal(read_pixels(tmp_path / "gray.png", 1), colour[..., :1])
    assert read_pixels(tmp_path / "rgb.png", 1).shape == (*SIZE, 1)
    with pytest.raises(DataError, match=r"rgb.png: has 3 channels, and 5 are expected"):
        read_pixels(tmp_path / "rgb.png", 5)


def refusal(call):
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_array_of_pixels_is_told_with_its_file(tmp_path):
    for name, array in {"axes": np.zeros((2, 3, 4, 5)), "text": np.array(["a"] * 4).reshape(2, 2)}.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    np.save(tmp_path / "object.npy", np.array([[{}]]), allow_pickle=True)
    assert "an array of 4 axes" in refusal(lambda: read_pixels(tmp_path / "axes.npy", 5))
    assert "save it as uint8, uint16 or float32" in refusal(lambda: read_pixels(tmp_path / "text.npy", 1))
    assert "broken.npy: cannot be read" in refusal(lambda: picture_size(tmp_path / "broken.npy"))
    assert "object.npy: cannot be read" in refusal(lambda: read_pixels(tmp_path / "object.npy", 1))
    assert "no such picture" in refusal(lambda: read_pixels(tmp_path / "nowhere.npy", 1))


def test_an_array_of_too_many_pixels_is_refused_before_it_is_read(tmp_path):
    np.save(tmp_path / "a.npy", deep(5))
    assert "600 pixels; at most 599 are read" in refusal(lambda: read_pixels(tmp_path / "a.npy", 5, 599))


def test_without_tifffile_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    assert "pip install 'rcnn[tiff]'" in refusal(lambda: read_pixels(tmp_path / "a.tif", 5))


def test_arrays_of_samples_are_held_against_the_channels():
    assert resolve(deep(5), channels=5).shape == (*SIZE, 5)
    assert "has 5 channels, and 3 are expected" in refusal(lambda: resolve(deep(5)))
    assert "float64" in refusal(lambda: resolve(np.zeros((4, 4, 3))))


def test_pictures_of_other_channels_are_found_before_training():
    samples = [Sample("good", deep(5)), Sample("bad", deep(4))]
    (found,) = check_pictures(samples, channels=5)
    assert found.file == "bad"
    assert "has 4 channels, and 5 are expected" in found.detail


# -- to the network's numbers


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint16), (5, np.uint8), (3, np.uint16), (2, np.float32)])
def test_values_are_scaled_by_their_type_and_resized_as_torch_does(channels, dtype):
    picture, high = deep(channels, dtype), 1 if dtype == np.float32 else np.iinfo(dtype).max
    mean, std = tuple(0.1 * n for n in range(1, channels + 1)), tuple(0.2 * n for n in range(1, channels + 1))
    preprocess = Preprocess(32, 48, "exact32", mean, std, limits=(0.0, 1.0) if dtype == np.float32 else None)
    size = preprocess.resized(SIZE)
    batch = preprocess.lay_out([picture], [size], (32, 64), 2)
    plain = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None] / high
    expected = F.interpolate(plain, size, mode="bilinear")[0].sub(torch.tensor(mean)[:, None, None])
    expected = expected / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(batch.images[0, :, : size[0], : size[1]], expected, rtol=0, atol=2e-5)
    assert batch.images[0, :, :, size[1] :].count_nonzero() == batch.images[1].count_nonzero() == 0
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    raw = on_device(preprocess.pack([picture], [size], (32, 64), 2), torch.device("cpu"))
    assert torch.equal(raw.images, batch.images)


def test_a_stated_range_is_what_counts():
    preprocess = Preprocess(32, 48, "exact32", (0.0,), (1.0,), limits=(1000.0, 3000.0))
    flat = np.full((32, 32, 1), 2000, np.uint16)
    assert preprocess.lay_out([flat], [(32, 32)], (32, 32), 1).images.unique().tolist() == [0.5]


def test_float_pictures_without_a_range_are_refused():
    preprocess = Preprocess(32, 48, "exact32", (0.5,) * 2, (0.25,) * 2)
    assert "input.range=[0, 1]" in refusal(lambda: preprocess.lay_out([deep(2, np.float32)], [SIZE], (32, 32), 1))


def test_rgb_of_eight_bits_takes_the_same_path_as_ever(monkeypatch):
    def elsewhere(*_):
        raise AssertionError("the slower path")

    monkeypatch.setattr(Preprocess, "_place", elsewhere)
    Preprocess(32, 48).lay_out([deep(3, np.uint8)], [(32, 48)], (32, 64), 1)


def test_neutral_mean_and_deviation_for_other_channels():
    settings = config_for(5).input
    assert (settings.mean, settings.std) == ((0.5,) * 5, (0.25,) * 5)
    own = config_for(2, **{"input.mean": [0.1, 0.2]}).input
    assert (own.mean, own.std) == ((0.1, 0.2), (0.25, 0.25))
    with pytest.raises(ConfigError, match=r"input.mean: 2 items for 5 channels; give one for each"):
        config_for(5, **{"input.mean": [0.1, 0.2]})


# -- the first convolution


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_an_inflated_kernel_sees_a_gray_picture_as_the_old_one_did(channels):
    kernel, gray = torch.randn(4, 3, 3, 3), torch.rand(1, 1, 8, 8)
    expected = F.conv2d(gray.expand(1, 3, 8, 8), kernel)
    found = F.conv2d(gray.expand(1, channels, 8, 8), inflated(kernel, channels))
    torch.testing.assert_close(found, expected)


def test_one_channel_gets_the_sum_of_the_three():
    kernel = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(inflated(kernel, 1), kernel.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("name", ["small", "resnet18", "zf", "squeezenet1_1", "timm:resnet10t"])
def test_pretrained_weights_of_colours_are_inflated(name, tmp_path):
    torch.manual_seed(0)
    colours = network(name)
    torch.save(colours.state_dict(), tmp_path / "colours.pth")
    trunk = network(name, channels=5)
    report = load_backbone_weights(trunk, name, tmp_path / "colours.pth")
    assert report.kept == ()
    assert "from 3 to 5 input channels" in report.inflated
    first, theirs = next(iter(trunk.parameters())), next(iter(colours.parameters()))
    torch.testing.assert_close(first, inflated(theirs, 5))
    torch.save(trunk.state_dict(), tmp_path / "five.pth")
    again = network(name, channels=5)
    assert load_backbone_weights(again, name, tmp_path / "five.pth").inflated == ""
    assert torch.equal(next(iter(again.parameters())), first)


# -- end to end


def test_pain_24_sixteen_bit_pictures_of_one_channel_train_and_predict_end_to_end(tmp_path, quiet_log):
    data = write_voc(tmp_path / "data", shape_data(3, 1, 2))
    for file in (data / "JPEGImages").iterdir():
        Image.fromarray(gray16(np.array(Image.open(file)))[..., 0]).save(file)
    out, found = tmp_path / "run", tmp_path / "found.json"
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    words += ["--preset", "demo", "--backbone-weights", "none", "--device", "cpu", "--epochs", "1"]
    assert main(["train", str(data), "--out", str(out), "--set", "input.channels=1", *words]) == 0
    assert main(["evaluate", str(out), str(data), "--device", "cpu"]) == 0
    pictures = str(data / "JPEGImages" / "test*.png")
    drawn = ["--out", str(tmp_path / "drawn"), "--json", str(found), "--score", "0.01", "--device", "cpu"]
    assert main(["predict", str(out), pictures, *drawn]) == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    assert (out / "report.html").is_file()
    assert json.loads(found.read_text())
    detector = api.load(out, "cpu")
    assert detector.preprocess.channels == 1
    assert detector.model.backbone.body.stem[0].in_channels == 1


def test_pictures_of_five_channels_train_and_predict_end_to_end(tmp_path):
    data = converted(shape_data(4, 1), five)
    prepare(data, tmp_path / "run", config_for(5, **{"training.flip": 1.0})).training.run()
    detector = api.load(tmp_path / "run", "cpu")
    sample = data.splits["val"][0]
    np.save(tmp_path / "a.npy", sample.picture)
    one, other = list(detector.predict([sample, tmp_path / "a.npy"], batch=2))
    torch.testing.assert_close(one.boxes, other.boxes)
    with pytest.raises(DataError, match="has 3 channels, and 5 are expected"):
        next(detector.predict(shape_sample("x").picture))


def test_training_says_what_the_channels_own_mean_is(tmp_path, capsys, quiet_log):
    from rcnn.cli.progress import show_plan

    show_plan(prepare(converted(shape_data(2, 1), five), tmp_path / "run", config_for(5)))
    words = " ".join(capsys.readouterr().out.split())
    assert "--set 'input.mean=[0.4" in words
    assert "--set 'input.std=[0." in words


def test_regions_that_selective_search_would_make_are_refused_for_other_channels():
    settings = {"model.method": "fast-rcnn"}
    with pytest.raises(ConfigError, match=r"input.channels: fast-rcnn needs regions from selective search"):
        build.refuse(config_for(5, **settings))


# -- shown


def test_any_picture_is_shown_in_eight_bits():
    rgb = deep(3, np.uint8)
    assert as_shown(rgb) is rgb or np.array_equal(as_shown(rgb), rgb)
    assert np.array_equal(as_shown(five(rgb)), rgb)
    gray = as_shown(deep(1))
    assert (gray[..., 0] == gray[..., 2]).all()
    assert as_shown(np.array([[[1000], [3000]]], np.uint16), (1000, 3000))[0, :, 0].tolist() == [0, 255]
    assert as_shown(deep(2, np.float32)).max() == 255


def test_detections_are_drawn_on_pictures_of_any_channels():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ())
    for picture in (deep(1), deep(5), deep(4, np.float32)):
        assert draw(picture, nothing).size == (30, 20)


@pytest.fixture
def scans(tmp_path):
    """VOC data of three arrays of five channels; a box reaches over the edge of one."""
    (tmp_path / "scans").mkdir()
    for number, right in enumerate((25, 25, 60)):
        np.save(tmp_path / "scans" / f"p{number}.npy", deep(5))
        corners = f"<xmin>5</xmin><ymin>5</ymin><xmax>{right}</xmax><ymax>15</ymax>"
        text = f"<annotation><object><name>cell</name><bndbox>{corners}</bndbox></object></annotation>"
        (tmp_path / "scans" / f"p{number}.xml").write_text(text)
    return tmp_path / "scans"


def test_pictures_of_five_channels_are_checked_and_repaired_by_the_setting_that_the_message_names(
    scans, tmp_path, capsys, quiet_log
):
    assert main(["check", str(scans), "--preset", "demo"]) == 1
    assert "pass --set input.channels=5" in capsys.readouterr().out
    words = ["--preset", "demo", "--set", "input.channels=5"]
    assert main(["check", str(scans), *words, "--fix", str(tmp_path / "out")]) == 0
    assert "box (5, 5, 60, 15) reaches 30 px over the picture's edge; cut there" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "out"), *words]) == 0
    assert "over the picture's edge" not in capsys.readouterr().out


@pytest.mark.parametrize("to", ["coco", "csv", "voc"])
def test_arrays_in_files_and_in_memory_are_converted_and_read_back_as_they_were(scans, tmp_path, to):
    in_file, floats = np.load(scans / "p0.npy"), deep(4, np.float32)
    in_memory = DataSet({"train": [Sample("p0", in_file), Sample("p1", lambda: floats)]}, ("cell",))
    for number, data in enumerate((scans, in_memory)):
        out = api.convert_data(data, to, tmp_path / f"out{number}").out
        pictures = {
            s.id.removesuffix(".npy"): read_pixels(s.picture, None) for s in every_sample(open_data(out).dataset)
        }
        np.testing.assert_array_equal(pictures["p0"], in_file)
    np.testing.assert_array_equal(pictures["p1"], floats)


def test_yolo_whose_readers_know_no_arrays_is_refused_in_one_line(scans, tmp_path):
    with pytest.raises(DataError, match=r"p\d.npy: .npy is no suffix by which readers know a picture .*another format"):
        api.convert_data(scans, "yolo", tmp_path / "out")


def test_a_data_set_of_arrays_with_mixed_bits_is_one_batch():
    preprocess = Preprocess(32, 48, "exact32", (0.0,), (1.0,))
    pictures = [np.full((32, 32, 1), 255, np.uint8), np.full((32, 32, 1), 65535, np.uint16)]
    batch = preprocess.lay_out(pictures, [(32, 32)] * 2, (32, 32), 2)
    assert batch.images.unique().tolist() == [1.0]
    assert isinstance(DataSet({"train": [Sample("a", pictures[0])]}, ()), DataSet)
