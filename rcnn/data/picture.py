"""The one way from a picture file to an RGB array, for training, evaluation and prediction alike."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from rcnn.data.arrays import DTYPES, NUMPY, TIFF, array_shape, read_array
from rcnn.data.shown import as_shown
from rcnn.errors import DataError
from rcnn.sample import Picture, Pixels

RGB = UInt8[np.ndarray, "H W 3"]
Trouble = Literal["missing-picture", "not-a-picture", "truncated-picture", "unreadable-picture"]

MAX_PIXELS = 100_000_000
"""More than any camera of today makes: a larger picture is a mistake, or made to fill the memory."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What is decoded; Pillow's other formats are left out, for some of them start foreign programs."""

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda rgb: rgb,
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""What brings a picture of each EXIF orientation upright."""

# Pillow warns of odd headers through Python's process-wide filters, which threads must not change at the same time.
_OPENING = Lock()


class PictureError(DataError):
    """A picture that cannot be read; `kind` says why in a word."""

    def __init__(self, message: str, kind: Trouble = "unreadable-picture") -> None:
        super().__init__(message)
        self.kind: Trouble = kind


@dataclass(frozen=True)
class Verified:
    """A picture that has been decoded to its end, though only for a glance."""

    shown: tuple[int, int]
    """Height and width as it is shown."""
    stored: tuple[int, int]
    """Height and width before EXIF turns it."""
    glance: Image.Image
    """Upright, gray, and as small as its decoder makes it cheaply: of at least 64 pixels a side where it has them."""
    upright: bool = True
    """Whether it is stored as it is shown, with no turn or mirroring that EXIF tells."""


def read_picture(path: "Path | Encoded", max_pixels: int = MAX_PIXELS) -> RGB:
    """The picture as it is shown: upright (EXIF), RGB, transparent parts on white, the first frame of several.

    Gray and palette pictures become RGB; 16-bit gray is scaled so that 65535 becomes 255; CMYK is converted. Raises
    DataError on a file that is missing, broken, no picture, of more than `max_pixels` pixels (found before any is
    decoded), or of 32-bit values, for which no range is known.
    """
    with _opened(path, max_pixels) as image:
        # Pillow turns a TIFF upright itself while it loads it.
        turn = _TURNS[1 if image.format == "TIFF" else _orientation(image)]
        return np.ascontiguousarray(turn(_rgb(image)))


@dataclass(frozen=True)
class Encoded:
    """A picture's file in memory; messages call it by its name."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def known(self) -> bool:
        """Whether it begins like a file of a kind that is decoded."""
        Image.init()
        start = self.content[:16].ljust(16, b"\0")
        accepts = (Image.OPEN[form][1] for form in FORMATS if form in Image.OPEN)
        return any(accept is not None and accept(start) for accept in accepts)

    def size(self, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        """Height and width as shown, from the header alone; raises DataError like `read_picture`."""
        with _opened(self, max_pixels) as image:
            return _shown_size(image)


def picture_size(picture: Picture, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width as shown, of a file from its header alone; raises DataError like `read_picture`."""
    if isinstance(picture, str | Path):
        return picture_sizes(Path(picture), max_pixels)[0]
    height, width, _ = resolve(picture, max_pixels, channels=None).shape
    return height, width


def picture_sizes(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width as shown and as stored, from the header alone; raises DataError like `read_picture`."""
    if path.suffix.lower() in NUMPY:
        return (_array_size(path, max_pixels),) * 2
    try:
        with _opened(path, max_pixels) as image:
            return _shown_size(image), _stored_size(image)
    except DataError:
        if not _is_deep_tiff(path):
            raise
        return (_array_size(path, max_pixels),) * 2


def verify_picture(path: Path, max_pixels: int = MAX_PIXELS, channels: int | None = 3) -> Verified:
    """What a picture is, once the whole file has been decoded; raises DataError like `read_pixels`."""
    if channels not in (None, 3) or path.suffix.lower() in NUMPY:
        return glanced(read_pixels(path, channels, max_pixels))
    try:
        return _verified(path, max_pixels)
    except DataError:
        if not _is_deep_tiff(path):
            raise
        return glanced(read_pixels(path, channels, max_pixels))


def _verified(path: Path, max_pixels: int) -> Verified:
    with _opened(path, max_pixels) as image:
        shown, stored, upright = _shown_size(image), _stored_size(image), _orientation(image) == 1
        image.draft("L", (64, 64))  # JPEG: down to an eighth of the size and no colour, yet every byte is read
        image.load()
        return Verified(shown, stored, _glance(image), upright)


def glanced(picture: Pixels) -> Verified:
    """The same of an array."""
    size = picture.shape[0], picture.shape[1]
    return Verified(size, size, Image.fromarray(as_shown(picture)).convert("L"))


def read_pixels(path: Path, channels: int | None = 3, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The picture in a file as an array of so many channels, of the values that the file has.

    Three channels of a picture file are read by `read_picture`, in 8 bits. NumPy's files hold any number, and so does
    TIFF. Of other files 1 channel is gray, of 8 or 16 bits, 2 are gray and alpha, 4 RGB and alpha. With None an array
    has the channels that it has, a picture file three. Raises DataError on a file of other channels, and like
    `read_picture`.
    """
    suffix = path.suffix.lower()
    if suffix in NUMPY or (suffix in TIFF and channels not in (None, 1, 3)):
        return _of_channels(_read_array(path, max_pixels), str(path), channels)
    try:
        return read_picture(path, max_pixels) if channels in (None, 3) else _read_bands(path, channels, max_pixels)
    except DataError:
        if not _is_deep_tiff(path):
            raise
        return _of_channels(_read_array(path, max_pixels), str(path), channels)


def resolve(picture: Picture, max_pixels: int = MAX_PIXELS, channels: int | None = 3) -> Pixels:
    """The array of a sample's picture: read, called for, or as it is; raises DataError if it is none.

    It has so many `channels`; with None an array, in memory or in a file, may have any number.
    """
    if isinstance(picture, str | Path):
        return read_pixels(Path(picture), channels, max_pixels)
    array = picture() if callable(picture) else picture
    if not isinstance(array, np.ndarray) or array.dtype not in DTYPES or array.ndim != 3:
        form = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        wanted = (
            "an RGB array of uint8 (or uint16, float32)" if channels == 3 else "an array of uint8, uint16 or float32"
        )
        raise DataError(f"a sample's picture is {form}; give {wanted}, (height, width, {channels or 'channels'})")
    height, width, _ = array.shape
    _check_size(f"a sample's picture of {height}x{width}", height * width, max_pixels)
    return _of_channels(array, "a sample's picture", channels)


def _of_channels(array: Pixels, what: str, channels: int | None) -> Pixels:
    """The array, if it has so many channels."""
    if channels not in (None, array.shape[2]):
        raise DataError(
            f"{what}: has {array.shape[2]} channels, and {channels} are expected; "
            f"convert it, or pass --set input.channels={array.shape[2]}"
        )
    return array


def _array_size(path: Path, max_pixels: int) -> tuple[int, int]:
    height, width, _ = array_shape(path)
    _check_size(str(path), height * width, max_pixels)
    return height, width


def _is_deep_tiff(path: Path) -> bool:
    """Whether a file that Pillow does not read is a TIFF of several channels."""
    try:
        return path.suffix.lower() in TIFF and array_shape(path)[2] > 1
    except DataError:
        return False


def _read_array(path: Path, max_pixels: int) -> Pixels:
    _array_size(path, max_pixels)  # before any of it is read
    return read_array(path)


def _read_bands(path: Path, channels: int, max_pixels: int) -> Pixels:
    """A picture file as gray, gray and alpha, or RGB and alpha; colours become gray where one channel is wanted."""
    with _opened(path, max_pixels) as image:
        turn = _TURNS[1 if image.format == "TIFF" else _orientation(image)]
        if channels == 1:
            deep = image.mode.startswith("I")  # 16 bits, whatever Pillow keeps them in
            array = np.asarray(image).astype(np.uint16) if deep else np.asarray(image.convert("L"))
        else:
            array = np.asarray(image)
    return _of_channels(np.ascontiguousarray(turn(array.reshape(*array.shape[:2], -1))), str(path), channels)


@contextmanager
def _opened(path: Path | Encoded, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read, of a size and kind that can be decoded; whatever fails becomes a DataError."""
    try:
        with _header(path) as image:
            _check_size(str(path), image.width * image.height, max_pixels)
            if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
                raise DataError(f"{path}: 32-bit values have no known range; save it with 8 or 16 bits")
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        message = f"{path}: no such picture; mend the path or remove what refers to it"
        raise PictureError(message, "missing-picture") from None
    except UnidentifiedImageError:
        message = f"{path}: not a picture, or none of {', '.join(FORMATS)}; convert or remove it"
        raise PictureError(message, "not-a-picture") from None
    except Image.DecompressionBombError:
        limit = "over twice PIL.Image.MAX_IMAGE_PIXELS"
        raise DataError(f"{path}: {limit} pixels; scale it down or raise that limit") from None
    except Exception as error:  # a broken file makes decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        kind: Trouble = "truncated-picture" if _is_cut_off(error) else "unreadable-picture"
        raise PictureError(f"{path}: cannot be decoded ({reason}); save it anew or remove it", kind) from error


def _is_cut_off(error: Exception) -> bool:
    """Whether a decoder complains, in the words of any of them, that the file ends too early."""
    return isinstance(error, EOFError) or any(word in str(error).lower() for word in ("truncated", "end of file"))


def _header(path: Path | Encoded) -> Image.Image:
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(BytesIO(path.content) if isinstance(path, Encoded) else path, formats=FORMATS)
        _orientation(image)  # read here, where warnings are silenced, and remembered by Pillow
        return image


def _check_size(what: str, pixels: int, max_pixels: int) -> None:
    if not 0 < pixels <= max_pixels:
        advice = f"at most {max_pixels:,} are read; scale it down or raise max_pixels" if pixels else "it is empty"
        raise DataError(f"{what}: {pixels:,} pixels; {advice}")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 (upright) if there is none or it is broken."""
    try:
        # The method of the base class: that of PNG decodes the whole picture in search of a late chunk.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF data raises nearly anything, and the pixels are still good
        return 1
    return orientation if orientation in _TURNS else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if image.format == "TIFF":  # some versions of Pillow have turned this size already, others not
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    return height, width


def _shown_size(image: Image.Image) -> tuple[int, int]:
    height, width = _stored_size(image)
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _glance(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray(_rgb(image)[:, :, 0])
    turn = _TURNS[1 if image.format == "TIFF" else _orientation(image)]
    return Image.fromarray(np.ascontiguousarray(turn(np.asarray(image.convert("L")))))


def _rgb(image: Image.Image) -> RGB:
    if image.mode.startswith("I"):
        gray = ((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(image.convert("RGB"))
