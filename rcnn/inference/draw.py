"""Detections drawn on their picture, and many drawn pictures on one sheet."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from rcnn.data.shown import as_shown
from rcnn.errors import DataError
from rcnn.sample import Pixels, Sample
from rcnn.structures import Detections

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the drawing, x2 and y2 exclusive."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PALETTE = (
    *("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00"),
    *("#AAFFC3", "#AA3377", "#DDDDDD", "#332288", "#999933"),
)
"""Okabe and Ito's colours, which colour-blind people tell apart, then five that are far from them and each other."""
SHADES = (0.0, 0.5, -0.4)
"""From the thirteenth class on the palette comes again, lighter, then darker."""

PIXELS_PER_LINE, PIXELS_PER_LETTER = 210, 35
"""The side of a square as large as the picture is this many times the width of a line and the height of a letter."""
SMALLEST_LETTER = 10


@dataclass(frozen=True)
class Tag:
    """What is written at a box."""

    text: str
    colour: Colour
    box: Rectangle


def draw(picture: Pixels, detections: Detections, truth: Sample | None = None, scale: float = 1.0) -> Image.Image:
    """The picture as `as_shown` has it, enlarged `scale` times, with a box and "name score" for each detection.

    Lines and letters grow with the picture. A class always has the same colour. The boxes of `truth`, in pixels of
    `picture` as the detections are, become thin dashes of white and black. A letter that Pillow's own font lacks
    (Chinese, Japanese, ...) is shown as an empty box.
    """
    image = _enlarged(picture, scale)
    return _drawn(image, _tags(detections, scale, image.size), [] if truth is None else truth.boxes.tolist(), scale)


def draw_objects(
    picture: Pixels,
    names: Sequence[str],
    labels: Sequence[int],
    boxes: Sequence[Sequence[float]],
    scale: float = 1.0,
) -> Image.Image:
    """The picture, enlarged `scale` times, with a box and a name for each object; labels give the colours."""
    image = _enlarged(picture, scale)
    rows = zip(names, labels, boxes, strict=True)
    tags = [Tag(name, class_colour(label), _on_image(box, scale, image.size)) for name, label, box in rows]
    return _drawn(image, tags, [], scale)


def _enlarged(picture: Pixels, scale: float) -> Image.Image:
    image = Image.fromarray(as_shown(picture))
    if scale == 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _drawn(image: Image.Image, tags: Sequence[Tag], dashed: Sequence[Sequence[float]], scale: float) -> Image.Image:
    """The image with boxes and what is written at them, then with dashed boxes."""
    pen = ImageDraw.Draw(image)
    width = max(1, round(_side(image.size) / PIXELS_PER_LINE))
    for tag in reversed(tags):  # the best on top
        _outline(pen, tag, width)
    for box in dashed:
        dashes(pen, _on_image(box, scale, image.size), width)
    _write(pen, tags, image.size, width)
    return image


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures in rows of `columns`, each centred in a cell of the size of the largest.

    Raises DataError where there is no picture or no column.
    """
    if not images or columns < 1:
        raise DataError(f"contact sheet: {len(images)} pictures in {columns} columns; give at least one of each")
    columns = min(columns, len(images))
    cell_width, cell_height = max(image.width for image in images), max(image.height for image in images)
    margin = max(2, max(cell_width, cell_height) // 50)
    step_x, step_y = cell_width + margin, cell_height + margin
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * step_x + margin, rows * step_y + margin), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        x, y = column * step_x + (cell_width - image.width) // 2, row * step_y + (cell_height - image.height) // 2
        sheet.paste(image, (margin + x, margin + y))
    return sheet


def class_colour(label: int) -> Colour:
    """The colour of class `label` (1..K), the same in every picture."""
    cycle, place = divmod(label - 1, len(PALETTE))
    shade = SHADES[cycle % len(SHADES)]
    target, channels = 255 if shade > 0 else 0, bytes.fromhex(PALETTE[place][1:])
    red, green, blue = (round(channel + abs(shade) * (target - channel)) for channel in channels)
    return red, green, blue


def _tags(detections: Detections, scale: float, size: tuple[int, int]) -> list[Tag]:
    rows = zip(
        detections.names,
        detections.scores.tolist(),
        detections.labels.tolist(),
        detections.boxes.tolist(),
        strict=True,
    )
    return [
        Tag(f"{' '.join(name.split())}  {score:.2f}", class_colour(label), _on_image(box, scale, size))
        for name, score, label, box in rows
    ]


def _on_image(box: Sequence[float], scale: float, size: tuple[int, int]) -> Rectangle:
    """A box in whole pixels of the drawing, cut at its borders, at least one pixel wide and high."""
    limits = (size[0], size[1], size[0], size[1])
    x1, y1, x2, y2 = (min(max(round(side * scale), 0), limit) for side, limit in zip(box, limits, strict=True))
    x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _outline(pen: ImageDraw.ImageDraw, tag: Tag, width: int) -> None:
    """A coloured box; where there is room, with a hairline inside that sets it off from ground of its own colour."""
    x1, y1, x2, y2 = tag.box
    if width >= 3 and min(x2 - x1, y2 - y1) > 6 * width:
        inner = (x1 + width, y1 + width, x2 - 1 - width, y2 - 1 - width)
        pen.rectangle(inner, outline=_opposite(tag.colour), width=width // 3)
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=tag.colour, width=width)


def dashes(pen: ImageDraw.ImageDraw, box: Rectangle, width: int) -> None:
    """White, black and nothing in turn, so that some of it shows on any ground and on any box beneath."""
    x1, y1, x2, y2 = box
    thin, dash = max(1, width // 2), 3 * max(1, width)
    right, bottom = max(x2 - thin, x1), max(y2 - thin, y1)
    for start, end, colour in _steps(x1, x2, dash):
        for y in (y1, bottom):
            pen.rectangle((start, y, end, y + thin - 1), fill=colour)
    for start, end, colour in _steps(y1, y2, dash):
        for x in (x1, right):
            pen.rectangle((x, start, x + thin - 1, end), fill=colour)


def _steps(low: int, high: int, dash: int) -> Iterator[tuple[int, int, str]]:
    """The white and black dashes (first and last pixel) from `low` to `high`, a gap after each pair."""
    for number, start in enumerate(range(low, high, dash)):
        if number % 3 < 2:
            yield start, min(start + dash, high) - 1, ("white", "black")[number % 3]


def _write(pen: ImageDraw.ImageDraw, tags: Sequence[Tag], size: tuple[int, int], line: int) -> None:
    """The tags, best first, each at the first place by its box where it hides no tag written before."""
    letter = max(SMALLEST_LETTER, round(_side(size) / PIXELS_PER_LETTER))
    font: Font = ImageFont.load_default(letter)
    pad = max(1, letter // 6)
    _, top, _, bottom = font.getbbox("Áq")
    taken: list[Rectangle] = []
    for tag in tags:
        text = _shortened(tag.text, font, size[0] - 2 * pad)
        extent = (math.ceil(font.getlength(text)) + 2 * pad, math.ceil(bottom - top) + 2 * pad)
        x, y = _free_place(tag.box, extent, size, taken, line)
        taken.append((x, y, x + extent[0], y + extent[1]))
        pen.rectangle((x, y, x + extent[0] - 1, y + extent[1] - 1), fill=tag.colour)
        pen.text((x + pad, y + pad - top), text, fill=_opposite(tag.colour), font=font)


def _shortened(text: str, font: Font, width: int) -> str:
    """The text, its name cut until it fits; the score at its end, if there is one, stays."""
    name, gap, score = text.rpartition("  ") if "  " in text else (text, "", "")
    while font.getlength(text) > width and name:
        name = name[:-1]
        text = f"{name}…{gap}{score}"
    return text


def _free_place(
    box: Rectangle, extent: tuple[int, int], size: tuple[int, int], taken: Sequence[Rectangle], line: int
) -> tuple[int, int]:
    """Above the box, below it, or inside; where all are taken, the one that hides least of other tags."""
    x1, y1, x2, y2 = box
    width, height = extent
    right = x2 - width
    spots = [(x1, y1 - height), (right, y1 - height), (x1, y2), (right, y2), (x1 + line, y1 + line)]
    spots += [(x2, y1), (x1 - width, y1), (x1, y1 - 2 * height), (x1, y2 + height)]
    inside = [(max(min(x, size[0] - width), 0), max(min(y, size[1] - height), 0)) for x, y in spots]

    def hidden(spot: tuple[int, int]) -> int:
        return sum(_common((*spot, spot[0] + width, spot[1] + height), other) for other in taken)

    return min(inside, key=hidden)  # the first of equals


def _common(a: Rectangle, b: Rectangle) -> int:
    """Common area."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def _side(size: tuple[int, int]) -> float:
    return math.sqrt(size[0] * size[1])


def _opposite(colour: Colour) -> str:
    """Black or white, whichever can be read on this colour."""
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"
