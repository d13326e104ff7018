"""From files to a batch on the device: decoding, resizing, normalising, padding. Per core with `--threads 1`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.functional import pil_to_tensor

from rcnn.agreement import near
from rcnn.bench.harness import Case, Way
from rcnn.bench.pictures import jpegs
from rcnn.data.loader import Collate, Draw, Samples
from rcnn.data.preprocess import Preprocess
from rcnn.data.raw import lays_out
from rcnn.sample import Sample
from rcnn.structures import Batch

SIZES = ((480, 640), (960, 1280))
"""Of the files."""


def cases(device: torch.device, count: int = 4) -> Iterator[Case]:
    """Batches of four for a detector of 800 x 1333, from small files and from large ones."""
    for size in SIZES:
        with TemporaryDirectory() as folder:
            yield load_case(jpegs(Path(folder), count, *size), size, Preprocess(bucket="exact32"), device)


def load_case(files: Sequence[Path], size: tuple[int, int], preprocess: Preprocess, device: torch.device) -> Case:
    """Torchvision's way: Pillow, a tensor of floats, its detectors' own transform."""
    transform = GeneralizedRCNNTransform(
        preprocess.short, preprocess.long, list(preprocess.mean), list(preprocess.std)
    ).to(device)
    rows = Samples([Sample(id=file.stem, picture=file) for file in files], preprocess)
    collate = Collate(preprocess, ("object",), len(files), raw=lays_out(device))
    draws = [Draw(place, preprocess.short, mirrored=False, key=place) for place in range(len(files))]

    def theirs() -> Tensor:
        return transform([_tensor(file).to(device) for file in files])[0].tensors

    def ours() -> Batch:
        batch = collate(rows.__getitems__(draws))
        return batch.on(device)[0]

    def check() -> str:
        return f"{near(ours().images, theirs(), 1e-5, 'pixels'):.0e}"

    name = f"load, {len(files)} files of {size[0]} x {size[1]}"
    ways = (Way("torchvision transform", theirs), Way("rcnn", ours, wanted=2))
    return Case(name, ways, check, {"short side": preprocess.short})


def _tensor(file: Path) -> Tensor:
    with Image.open(file) as image:
        return pil_to_tensor(image.convert("RGB")).float() / 255
