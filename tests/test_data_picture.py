"""Every kind of picture file becomes one kind of array, or one line that tells why not."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from rcnn.data.picture import picture_size, read_picture, resolve, verify_picture
from rcnn.errors import DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def noise(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def assert_refused(path: Path, *words: str, max_pixels: int = 1000) -> None:
    for function in (read_picture, picture_size, verify_picture):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError) as caught:
                function(path, max_pixels)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert all(word in message for word in words), message


def test_an_rgb_picture_is_read_as_it_is_into_an_array_that_may_be_written(tmp_path):
    pixels = noise()
    read = read_picture(saved(tmp_path, Image.fromarray(pixels)))
    np.testing.assert_array_equal(read, pixels)
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_a_grayscale_png_is_read_as_rgb(tmp_path):
    gray = np.array([[0, 100, 255]], np.uint8)
    read = read_picture(saved(tmp_path, Image.fromarray(gray)))
    np.testing.assert_array_equal(read, np.stack([gray] * 3, axis=-1))


def test_a_bitmap_of_one_bit_is_black_and_white(tmp_path):
    read = read_picture(saved(tmp_path, Image.fromarray(np.array([[True, False]]))))
    assert read.tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_gray_is_scaled_and_not_clipped(tmp_path, name):
    gray = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(gray), name)
    assert read_picture(path)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert verify_picture(path).shown == (1, 5)


def test_big_endian_16_bit_gray_reads_the_same(tmp_path):
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 257, 65535))
    assert read_picture(saved(tmp_path, image, "a.tif"))[0, :, 0].tolist() == [1, 255]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_values_are_refused_for_their_range_is_unknown(tmp_path, dtype):
    path = saved(tmp_path, Image.fromarray(np.ones((2, 2), dtype)), "a.tif")
    assert_refused(path, "32-bit", "8 or 16")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_shown_on_white(tmp_path, mode):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(0, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)])
    assert read_picture(saved(tmp_path, image.convert(mode)))[0, :, 0].tolist() == [0, 255, 204]


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.new("RGB", (2, 1))
    image.putdata([RED, BLUE])
    assert read_picture(saved(tmp_path, image.quantize(2), "a.png")).tolist() == [[list(RED), list(BLUE)]]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_palette_with_a_transparent_colour_is_shown_on_white(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    read = read_picture(saved(tmp_path, image, transparency=transparency))
    assert read.tolist() == [[[255] * 3, list(BLUE)]]


def test_the_transparent_colour_of_an_rgb_png_is_shown_on_white(tmp_path):
    image = Image.new("RGB", (2, 1))
    image.putdata([RED, BLUE])
    assert read_picture(saved(tmp_path, image, transparency=RED)).tolist() == [[[255] * 3, list(BLUE)]]


def test_cmyk_is_converted(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    read = read_picture(saved(tmp_path, image, "a.jpg", quality=100))
    assert np.abs(read.astype(int) - RED).max() < 20


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert read_picture(path)[0, 0].tolist() == list(RED)


def test_a_phone_picture_with_a_second_one_inside_is_read_as_jpeg(tmp_path):
    first, second = Image.fromarray(noise()), Image.fromarray(noise()[::-1])
    path = tmp_path / "a.jpg"
    first.save(path, "MPO", save_all=True, append_images=[second])
    plain = io.BytesIO()
    first.save(plain, "JPEG")
    np.testing.assert_array_equal(read_picture(path), np.array(Image.open(plain)))
    assert verify_picture(path).shown == (60, 90)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_shown_upright(tmp_path, name, orientation):
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path, Image.fromarray(noise()), name, exif=with_orientation(orientation), **options)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    read = read_picture(path)
    np.testing.assert_array_equal(read, upright)
    assert picture_size(path) == verify_picture(path).shown == read.shape[:2] == upright.shape[:2]


def test_a_rotated_16_bit_picture_is_upright_too(tmp_path):
    image = Image.fromarray(np.array([[0, 65535, 65535]], np.uint16))
    read = read_picture(saved(tmp_path, image, exif=with_orientation(6)))
    assert read[:, 0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("exif", [with_orientation(9).tobytes(), b"Exif\0\0II*\0nonsense", b"Exif\0\0"])
def test_broken_exif_data_leave_the_picture_as_it_is(tmp_path, exif):
    path = saved(tmp_path, Image.fromarray(noise()), "a.jpg", exif=exif)
    assert read_picture(path).shape[:2] == picture_size(path) == verify_picture(path).shown == (60, 90)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.jpg", "progressive.jpg", "a.png", "a.tif"])
def test_a_truncated_file_is_refused_by_reader_and_check_alike(tmp_path, name, kept):
    options = {"progressive": True} if name.startswith("progressive") else {}
    path = saved(tmp_path, Image.fromarray(noise()), name, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    for function in (read_picture, verify_picture):
        with pytest.raises(DataError, match=r"a\.|progressive"):
            function(path)


def test_a_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "none.jpg", "no such picture")


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture_is_told(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert_refused(path, "not a picture")


def test_a_folder_is_no_picture(tmp_path):
    assert_refused(tmp_path, "cannot be decoded")


def test_too_many_pixels_are_refused(tmp_path):
    assert_refused(saved(tmp_path, Image.new("L", (40, 30))), "1,200 pixels", "1,000", max_pixels=1000)


def huge_png(folder: Path, side: int) -> Path:
    """A header that promises side x side pixels, and nothing behind it."""
    chunk = b"IHDR" + struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, idat)]
    path = folder / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("side", [9_700, 11_000, 50_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    assert_refused(huge_png(tmp_path, side), "pixels", max_pixels=90_000_000)


def test_pillows_own_limit_warns_nobody_below_ours(tmp_path):
    path = huge_png(tmp_path, 9_700)
    assert picture_size(path) == (9_700, 9_700)


def test_resolve_takes_a_file_an_array_or_a_function(tmp_path):
    pixels = noise()
    path = saved(tmp_path, Image.fromarray(pixels))
    for picture in (path, pixels, lambda: pixels):
        np.testing.assert_array_equal(resolve(picture), pixels)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_resolve_refuses_arrays_of_another_form(wrong):
    with pytest.raises(DataError, match="a sample's picture"):
        resolve(lambda: wrong)


def test_resolve_refuses_what_a_function_should_not_return():
    with pytest.raises(DataError, match="is str"):
        resolve(lambda: "a.jpg")


def test_resolve_holds_the_limit_for_arrays_too():
    with pytest.raises(DataError, match="at most 10"):
        resolve(noise(), max_pixels=10)
