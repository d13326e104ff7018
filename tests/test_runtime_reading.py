"""Picture files that the runtime must refuse, as the library does: those of which it would read something else."""

import zlib

import numpy as np
import pytest
from PIL import Image

from rcnn import runtime
from rcnn.data.picture import read_pixels
from rcnn.errors import DataError


def colours(size=(60, 80)):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def assert_refused(file, words):
    """Both refuse the file, in gray and in colour."""
    for channels in (1, 3):
        with pytest.raises(DataError):
            read_pixels(file, channels)
        with pytest.raises(runtime.PictureError, match=words):
            runtime.read(file, channels)


def test_a_png_with_flipped_bytes_in_its_pixels_is_refused_not_read_in_part(tmp_path):
    file = tmp_path / "flipped.png"
    Image.fromarray(colours()).save(file)
    content = bytearray(file.read_bytes())
    start = content.index(b"IDAT") + 4
    length = int.from_bytes(content[start - 8 : start - 4], "big")
    middle = start + length // 2
    content[middle : middle + 40] = bytes(value ^ 0xFF for value in content[middle : middle + 40])
    check = zlib.crc32(content[start - 4 : start + length])  # whole by its sum: only its decoder can tell
    content[start + length : start + length + 4] = check.to_bytes(4, "big")
    file.write_bytes(content)
    assert_refused(file, r"flipped\.png: cannot be read")


def test_a_jpeg_that_ends_too_early_is_refused_though_its_exif_says_to_turn_it(tmp_path):
    file = tmp_path / "cut.jpg"
    picture = Image.fromarray(colours())
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(file, exif=exif)
    file.write_bytes(file.read_bytes()[:-900])
    assert_refused(file, r"cut\.jpg: cannot be read")


@pytest.mark.parametrize(("kind", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_a_tiff_of_32_bits_is_refused_not_cut_to_16(tmp_path, kind, mode):
    file = tmp_path / "deep.tif"
    Image.fromarray(np.full((6, 8), 65536 + 7, kind)).save(file)
    with Image.open(file) as image:
        assert image.mode == mode
    assert_refused(file, rf"deep\.tif: 8 x 6, {mode}; .* of 8 or 16 bits are read")


def test_16_bits_that_pillow_keeps_in_32_are_read(tmp_path):
    file, deep = tmp_path / "deep.pgm", (np.arange(48, dtype=np.uint16) * 1300).reshape(6, 8)
    file.write_bytes(b"P5 8 6 65535\n" + deep.astype(">u2").tobytes())
    with Image.open(file) as image:
        assert (image.mode, image.format) == ("I", "PPM")
    np.testing.assert_array_equal(runtime.read(file, 1)[..., 0], deep)
    np.testing.assert_array_equal(runtime.read(file), read_pixels(file))
