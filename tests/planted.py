"""Data sets with one plant of each defect, and good pictures of every kind between them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
BOMB = "<!DOCTYPE lolz [<!ENTITY a0 'lol'>{}]><annotation><filename>&a30;</filename></annotation>".format(
    "".join(f"<!ENTITY a{n} '&a{n - 1};&a{n - 1};&a{n - 1};&a{n - 1};&a{n - 1};&a{n - 1};'>" for n in range(1, 31))
)


def scene(name: str, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A picture of soft patches of colour, another for every name."""
    rng = np.random.default_rng(list(name.encode()))
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def obj(box=(5, 5, 30, 30), name="raccoon") -> str:
    corners = "".join(f"<{c}>{v}</{c}>" for c, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def size(width: int = WIDTH, height: int = HEIGHT) -> str:
    return f"<size><width>{width}</width><height>{height}</height></size>"


class Voc:
    """A devkit that is written picture by picture; `expected` are the findings it should give."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lists = {"train": [], "val": []}
        self.expected: set[tuple] = set()
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)

    def add(
        self, name, *objects, split="train", picture=None, told=None, filename=None, suffix=".jpg", **options
    ) -> Path:
        """A picture with its annotation; the path of the picture."""
        path = self.root / "JPEGImages" / f"{name}{suffix}"
        if picture is not False:
            (picture or scene(name)).save(path, **options)
        text = f"<filename>{filename or path.name}</filename>{size() if told is None else told}{''.join(objects)}"
        (self.root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>", "utf-8")
        self.lists[split].append(name)
        return path

    def expect(self, level, kind, file, number=None):
        self.expected.add((level, kind, file, number))

    def close(self) -> "Voc":
        for split, names in self.lists.items():
            (self.root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        return self


def good_pictures(data: Voc) -> None:
    """Pictures in good order that clumsy programs stumble over."""
    for number in range(12):
        data.add(f"plain{number}", obj(), obj((20, 10, 60, 40), "dog"), split=("train", "val")[number % 2])
    data.add("gray", obj(), picture=scene("gray").convert("L"))
    data.add("cmyk", obj(), picture=scene("cmyk").convert("CMYK"))
    deep = np.asarray(scene("deep").convert("L")).astype(np.uint16) * 257
    data.add("deep", obj(), picture=Image.fromarray(deep), suffix=".png")
    data.add("upright", obj((5, 5, 40, 60)), told=size(HEIGHT, WIDTH), exif=turned(6))
    data.add("palette", obj(), picture=scene("palette").convert("P"), suffix=".png")
    data.add("empty")
    data.add("rounded", obj((30, 10, 64.4, 40)))


def bad_boxes(data: Voc) -> None:
    defects = {
        "no-area": (5, 5, 5, 9),
        "inverted": (30, 5, 10, 20),
        "not-a-number": ("nan", 5, 10, 20),
        "outside": (100, 100, 120, 120),
    }
    for kind, box in defects.items():
        data.add(f"box-{kind}", obj(), obj(box, "dog"))
        data.expect("error", kind, f"box-{kind}.xml", 2)
    data.add("box-word", obj(("five", 5, 10, 20)))
    data.expect("error", "not-a-number", "box-word.xml", 1)
    data.add("box-over", obj((40, 5, 90, 20)))
    data.expect("warning", "outside", "box-over.xml", 1)
    data.add("box-twice", obj(), obj((1, 1, 9, 9)), obj())
    data.expect("warning", "duplicate-box", "box-twice.xml", 3)
    data.add("box-none", "<object><name>dog</name></object>")
    data.expect("error", "no-box", "box-none.xml", 1)
    data.add("box-nameless", obj(name=""))
    data.expect("error", "no-name", "box-nameless.xml", 1)


def bad_files(data: Voc) -> None:
    cut = data.add("pic-cut", obj())
    cut.write_bytes(cut.read_bytes()[:-200])
    data.expect("error", "truncated-picture", "pic-cut.jpg")
    data.add("pic-text", obj()).write_text("<html>not found</html>")
    data.expect("error", "not-a-picture", "pic-text.jpg")
    broken = data.add("pic-broken", obj(), suffix=".png")
    content = bytearray(broken.read_bytes())
    content[60:90] = bytes(30)
    broken.write_bytes(content)
    data.expect("error", "unreadable-picture", "pic-broken.png")
    data.add("pic-none", obj(), picture=False)
    data.expect("error", "missing-picture", "pic-none.xml")
    data.lists["val"].append("ghost")
    data.expect("error", "missing-annotation", "val.txt")
    for name, kind, text in (("xml-bomb", "unsafe-xml", BOMB), ("xml-broken", "broken-xml", "<annotation><object>")):
        data.add(name)
        (data.root / "Annotations" / f"{name}.xml").write_text(text)
        data.expect("error", kind, f"{name}.xml")


def bad_frames(data: Voc) -> None:
    data.add("size-other", obj(), told=size(640, 480))
    data.expect("warning", "size", "size-other.jpg")
    data.add("size-zero", obj(), told=size(0, 0))
    data.expect("warning", "zero-size", "size-zero.xml")
    data.add("exif-stored", obj((5, 5, 60, 40)), told="", exif=turned(6))
    data.expect("error", "exif-rotation", "exif-stored.jpg")
    data.add("exif-either", obj((5, 5, 40, 40)), told=size(), exif=turned(8))
    data.expect("warning", "exif-rotation", "exif-either.jpg")
    data.add("path-out", obj(), filename="../../../etc/passwd")
    data.expect("warning", "outside-folder", "path-out.xml")
    data.add("path-gone", obj(), filename="../../../etc/passwd", picture=False)
    data.expect("error", "outside-folder", "path-gone.xml")
    data.add("caps", obj(), filename="caps.jpg", suffix=".JPG")
    data.expect("warning", "file-name", "caps.xml")


def bad_classes_and_splits(data: Voc) -> None:
    data.add("class-slip", obj(), obj((1, 1, 20, 20), "racoon"))
    data.expect("warning", "class-typo", "class-slip.xml", 2)
    data.expect("warning", "class-in-one-split", "class-slip.xml", 2)
    data.add("class-alone", obj((1, 1, 20, 20), "unicorn"))
    data.expect("warning", "class-in-one-split", "class-alone.xml", 1)
    data.add("split-both", obj())
    data.lists["val"].append("split-both")
    data.expect("warning", "in-two-splits", "split-both.jpg")
    twin = scene("twin")
    data.add("twin-a", obj(), picture=twin)
    data.add("twin-b", obj(), picture=twin, split="val")
    data.expect("warning", "in-two-splits", "twin-b.jpg")
    data.add("same-a", obj(), picture=scene("same"))
    data.add("same-b", obj(), picture=scene("same"))
    data.expect("warning", "duplicate-picture", "same-a.jpg")
    data.add("near-a", obj(), picture=scene("near"), quality=95)
    data.add("near-b", obj(), picture=scene("near").point(lambda value: value * 0.9), split="val", quality=60)
    data.expect("warning", "near-duplicate", "near-b.jpg")


def planted_voc(root: Path) -> Voc:
    """Every defect that VOC data can have, once."""
    data = Voc(root)
    data.expect("warning", "missing-annotation", root.name)  # pictures whose annotation cannot be read
    for part in (good_pictures, bad_boxes, bad_files, bad_frames, bad_classes_and_splits):
        part(data)
    return data.close()


def planted_coco(root: Path) -> set[tuple]:
    """What COCO's form alone can have wrong; the findings it should give."""
    (root / "annotations").mkdir(parents=True)
    for split, names in {"train": "abcdef", "val": "gh"}.items():
        (root / split).mkdir()
        for name in names:
            scene(name).save(root / split / f"{name}.jpg")
    images = [
        {"id": n, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT} for n, name in enumerate("abcdef")
    ]
    images[1] |= {"width": 0}
    images += [{"id": 0, "file_name": "f.jpg"}, {"id": 20, "file_name": "../../../../etc/passwd"}, {"id": 21}]
    images += [{"id": 22, "file_name": "z.jpg"}]
    boxes = [
        {"image_id": 0, "category_id": 1, "bbox": [5, 5, 20, 20]},
        {"image_id": 0, "category_id": 9, "bbox": [5, 5, 20, 20]},
        {"image_id": 0, "category_id": 1, "bbox": [40, 30, -20, -10]},
        {"image_id": 0, "category_id": 1, "bbox": [5, 5, float("nan"), 20]},
        {"image_id": 2, "category_id": 0, "bbox": [5, 5, 0, 20]},
        {"image_id": 2, "category_id": 0},
        {"image_id": 99, "category_id": 1, "bbox": [5, 5, 20, 20]},
        {"image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 20]},
    ]
    rows = [{"id": number, **row} for number, row in enumerate(boxes)]
    rows[-1]["id"] = 0
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 1, "name": "cow"}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    (root / "annotations" / "instances_val.json").write_text('{"images": [], "annotations": [')
    kinds = [("unknown-category", 2), ("inverted", 3), ("not-a-number", 4), ("no-area", 1), ("no-box", 2)]
    kinds += [
        (kind, None)
        for kind in ("unknown-picture", "duplicate-id", "outside-folder", "missing-picture", "broken-entry")
    ]
    found = {("error", kind, "instances_train.json", number) for kind, number in kinds}
    found |= {("warning", kind, "instances_train.json", None) for kind in ("zero-size", "duplicate-id")}
    return found | {("error", "broken-json", "instances_val.json", None)}
