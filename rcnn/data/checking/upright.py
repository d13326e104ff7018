"""Pictures written anew without an EXIF orientation, so that every program sees them the same."""

from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageOps, JpegImagePlugin


def write_upright(source: Path, target: Path, as_stored: bool = False) -> None:
    """Write a picture turned as its EXIF data tells, or, `as_stored`, unturned; either way no orientation is left.

    JPEG keeps its tables and its sampling of colour, so that next to nothing is lost.
    """
    with Image.open(source) as image:
        options = _options(image)
        if as_stored:
            exif = image.getexif()
            exif.pop(ExifTags.Base.Orientation, None)
            turned, options["exif"] = image.copy(), exif.tobytes()
        else:
            turned = ImageOps.exif_transpose(image)
        turned.save(target, image.format, **options)


def _options(image: Image.Image) -> dict[str, Any]:
    profile = image.info.get("icc_profile")
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        return options | {"qtables": image.quantization} | ({"subsampling": sampling} if sampling >= 0 else {})
    return options | ({"lossless": True} if image.format == "WEBP" else {})
