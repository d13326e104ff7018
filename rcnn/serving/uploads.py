"""From a request's body to pictures, of which no more is kept than the limits allow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from PIL import Image
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from rcnn.data.picture import Encoded, PictureError, read_picture
from rcnn.errors import DataError
from rcnn.serving.batcher import RGB
from rcnn.serving.limits import Limits, RefusedError

BODY = "the body"
"""What messages call a picture without a name."""


@runtime_checkable
class Take(Protocol):
    """Counts what a request holds; raises RefusedError where it is too much."""

    def __call__(self, pictures: int = 0, size: int = 0) -> None:
        """So many pictures more, and bytes."""


class _InMemory(MultiPartParser):
    spool_max_size = 2**62  # the limit on the body holds, and the disk of a server is not for strangers to fill


async def read_uploads(request: Request, limits: Limits, take: Take) -> list[Encoded]:
    """The pictures of a body, which is one picture or a form of several.

    Raises RefusedError for a body that is too long or too slow, of another content type, or of too many pictures.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = kind == "multipart/form-data"
    if not form and not kind.startswith("image/") and kind not in ("", "application/octet-stream"):
        raise RefusedError(415, f"content type {kind}: send image/* or multipart/form-data")
    try:
        async with asyncio.timeout(limits.upload_seconds):
            body = _limited(request, limits, take)
            pictures = await _parts(request, body, limits) if form else await _whole(body)
    except TimeoutError:
        raise RefusedError(408, f"the body took more than {limits.upload_seconds:g} seconds; send it faster") from None
    except ClientDisconnect:
        raise RefusedError(400, "the client hung up within the body") from None
    if not any(picture.content for picture in pictures):
        raise RefusedError(422, "the body holds no picture; send one as the body, or several as files of a form")
    take(pictures=len(pictures))
    return pictures


async def _limited(request: Request, limits: Limits, take: Take) -> AsyncIterator[bytes]:
    """The body as it comes, counted; raises RefusedError at once where it tells or shows that it is too long."""
    told = request.headers.get("content-length", "")
    too_long = RefusedError(
        413, f"the body is longer than {limits.body:,} bytes; scale the picture down, or send fewer"
    )
    if told.isdigit() and int(told) > limits.body:
        raise too_long
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > limits.body:
            raise too_long
        take(size=len(chunk))
        yield chunk


async def _whole(body: AsyncIterator[bytes]) -> list[Encoded]:
    return [Encoded(BODY, b"".join([chunk async for chunk in body]))]


async def _parts(request: Request, body: AsyncIterator[bytes], limits: Limits) -> list[Encoded]:
    """The files of a form; its other fields are passed over."""
    try:
        form = await _InMemory(request.headers, body, max_files=limits.pictures, max_fields=limits.pictures).parse()  # type: ignore[arg-type]
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many") else 400
        raise RefusedError(status, f"the form: {error.message}") from error
    except FormParserError as error:
        raise RefusedError(400, f"the form cannot be read ({error})") from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    names = [(file.filename or f"file {number}")[:200] for number, file in enumerate(files, 1)]
    pictures = [Encoded(name, file.file.read()) for name, file in zip(names, files, strict=True)]
    await form.close()
    return pictures


def decode(encoded: Encoded, limits: Limits, take: Take) -> RGB:
    """The picture; raises RefusedError for one that is none (415), too large (413) or broken (422)."""
    if not encoded.known:
        raise RefusedError(415, f"{encoded}: not a picture that is decoded here; send JPEG, PNG or WEBP")
    try:
        height, width = encoded.size(max_pixels=2**62)
    except DataError as error:
        raise _broken(encoded, error) from None
    if height * width > limits.pixels:
        raise RefusedError(
            413, f"{encoded}: {height * width:,} pixels, at most {limits.pixels:,} are decoded; scale it down"
        )
    take(size=3 * height * width)
    try:
        return read_picture(encoded, limits.pixels)
    except DataError as error:
        raise _broken(encoded, error) from None


def _broken(encoded: Encoded, error: DataError) -> RefusedError:
    """What is told of a picture that cannot be read, though it begins like one."""
    if isinstance(error.__context__, Image.DecompressionBombError):
        return RefusedError(413, str(error))
    if isinstance(error, PictureError) and error.kind == "not-a-picture":
        return RefusedError(422, f"{encoded}: cannot be decoded (it is cut off, or broken); send it anew")
    return RefusedError(422, str(error))
