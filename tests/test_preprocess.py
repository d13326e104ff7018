"""From a picture to the network's input, held against torchvision's transform."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from rcnn.data.preprocess import Preprocess

SETTINGS = [(800, 1333), (480, 800), (64, 96), (160, 208), (600, 600)]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def torchvision_input(preprocess, pixels):
    transform = GeneralizedRCNNTransform(preprocess.short, preprocess.long, preprocess.mean, preprocess.std)
    images, _ = transform([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])
    return images.image_sizes[0], images.tensors[0]


def random_sizes(count, largest=4000):
    return np.exp(np.random.default_rng(1).uniform(0, np.log(largest), (count, 2))).astype(int).tolist()


@pytest.mark.parametrize(("short", "long"), [(48, 80), (64, 96), (33, 33)])
def test_sizes_are_torchvisions(short, long):
    preprocess = Preprocess(short, long, "exact32")
    for height, width in [*random_sizes(40, 300), (1, 1), (7, 300), (300, 7), (49, 49), (48, 80)]:
        if max(height, width) > long * min(height, width):
            continue  # torchvision gives such slivers no pixels at all
        size, tensor = torchvision_input(preprocess, picture(height, width))
        assert preprocess.resized((height, width)) == tuple(size), (height, width)
        assert preprocess.canvas(preprocess.resized((height, width))) == tuple(tensor.shape[1:])


def prepared(preprocess, pixels, size):
    """A picture as it lies on a larger canvas, among what stood there before."""
    with poisoned():
        batch = preprocess.lay_out([pixels], [size], (size[0] + 3, size[1] + 5), 2)
    assert not batch.images[0, :, size[0] :].any()
    assert not batch.images[0, :, :, size[1] :].any()
    assert not batch.images[1].any()
    return batch.images[0, :, : size[0], : size[1]]


@contextmanager
def poisoned():
    """While this context lasts, new memory is full of NaN."""
    empty = torch.empty
    torch.empty = lambda *size, **options: empty(*size, **options).fill_(torch.nan)
    try:
        yield
    finally:
        torch.empty = empty


def test_a_picture_that_is_larger_than_its_canvas_is_refused():
    for size in ((33, 32), (32, 33)):
        with pytest.raises(ValueError, match=r"a picture of 3\d x 3\d on a canvas of 32 x 32"):
            Preprocess(32, 64).lay_out([picture(40, 40)], [size], (32, 32), 1)


@pytest.mark.parametrize("size", [(50, 70), (90, 61), (64, 96), (200, 130), (64, 64)])
def test_pixels_are_torchvisions(size):
    preprocess, pixels = Preprocess(64, 96, "exact32"), picture(*size)
    wanted_size, wanted = torchvision_input(preprocess, pixels)
    batch = preprocess.lay_out([pixels], [preprocess.resized(size)], preprocess.canvas(wanted_size), 1)
    assert batch.images[0].shape == wanted.shape
    assert torch.allclose(batch.images[0], wanted, atol=1e-5)


@pytest.mark.parametrize(("short", "long"), SETTINGS)
@pytest.mark.parametrize("bucket", ["coarse", "exact32"])
def test_a_resized_picture_fits_its_canvas_and_the_limits(short, long, bucket):
    preprocess = Preprocess(short, long, bucket)
    for size in random_sizes(500):
        resized = preprocess.resized(size)
        canvas = preprocess.canvas(resized)
        assert min(resized) >= 1
        assert min(resized) <= short
        assert max(resized) <= long
        assert canvas[0] >= resized[0]
        assert canvas[1] >= resized[1]
        assert canvas[0] % 32 == canvas[1] % 32 == 0


@pytest.mark.parametrize(("short", "long"), SETTINGS)
@pytest.mark.parametrize("scale", [None, 416, 1000])
def test_coarse_canvases_are_at_most_five(short, long, scale):
    preprocess = Preprocess(short, long, "coarse")
    canvases = {preprocess.canvas(preprocess.resized(size, scale), scale) for size in random_sizes(2000)}
    assert 1 <= len(canvases) <= 5


def test_another_short_side_takes_the_long_one_along():
    preprocess = Preprocess(100, 200)
    assert preprocess.resized((50, 60), 50) == (50, 60)
    assert preprocess.resized((50, 500), 50) == (10, 100)


def test_a_sliver_keeps_at_least_one_pixel():
    assert Preprocess(64, 100).resized((1, 5000)) == (1, 100)
    assert Preprocess(64, 100).resized((5000, 1)) == (100, 1)


@pytest.mark.parametrize("size", [(37, 53), (300, 180), (64, 96)])
def test_boxes_survive_the_way_to_the_canvas_and_back(size):
    preprocess = Preprocess(64, 96)
    resized = preprocess.resized(size)
    batch = preprocess.lay_out([picture(*size)], [resized], preprocess.canvas(resized), 2)
    boxes = torch.tensor([[0.0, 0.0, size[1], size[0]], [3.0, 5.0, 30.5, 20.25]])
    there = boxes * torch.tensor([resized[1] / size[1], resized[0] / size[0]] * 2)
    assert there[0, 2:].tolist() == pytest.approx([resized[1], resized[0]])
    back = there * (batch.original_sizes[0] / batch.sizes[0]).flip(0).repeat(2)
    assert torch.allclose(back, boxes, atol=1e-4)


def test_a_picture_of_the_right_size_is_only_normalised():
    preprocess, pixels = Preprocess(32, 48, mean=(0, 0, 0), std=(1, 1, 1)), picture(32, 48)
    image = prepared(preprocess, pixels, (32, 48))
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def test_a_read_only_picture_is_taken_without_a_warning_and_not_changed():
    pixels = picture(20, 30)
    pixels.flags.writeable = False
    before = pixels.copy()
    prepared(Preprocess(16, 32), pixels, (16, 24))
    assert (pixels == before).all()


def test_a_mirrored_view_is_prepared_like_a_copy():
    preprocess, pixels = Preprocess(16, 32), picture(20, 30)
    mirrored = pixels[:, ::-1]
    one, other = (prepared(preprocess, pixels, (16, 24)) for pixels in (mirrored, mirrored.copy()))
    assert torch.equal(one, other)


def test_beyond_the_pictures_a_canvas_is_zero_and_empty_places_weigh_nothing():
    white = [np.full((10, 20, 3), 255, np.uint8), np.full((64, 20, 3), 255, np.uint8)]
    preprocess = Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    batch = preprocess.lay_out(white, [(20, 40), (32, 10)], (32, 64), 3)
    assert batch.images.shape == (3, 3, 32, 64)
    assert batch.images.sum() == 3 * (20 * 40 + 32 * 10)
    assert batch.sizes[:2].tolist() == [[20, 40], [32, 10]]
    assert batch.original_sizes[:2].tolist() == [[10, 20], [64, 20]]
    assert batch.weight.tolist() == [1, 1, 0]
    assert (batch.sizes > 0).all()
    assert (batch.original_sizes > 0).all()


SIZES = [((480, 640), (800, 1066)), ((37, 53), (11, 80)), ((1, 1), (5, 4)), ((5, 3), (1, 1)), ((300, 400), (300, 400))]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_a_picture_is_resized_as_torch_interpolates(before, after):
    picture = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
    preprocess = Preprocess()
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    for turned in (picture, picture[:, ::-1]):
        plain = (torch.from_numpy(turned.copy()).permute(2, 0, 1) / 255 - mean) / std
        wanted = torch.nn.functional.interpolate(plain[None], size=after, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(prepared(preprocess, turned, after), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("bucket", ["coarse", "exact32"])
def test_a_device_lays_out_what_the_processor_does(bucket):
    preprocess, rng = Preprocess(48, 80, bucket), np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((60, 90), (31, 47))]
    sizes = [preprocess.resized(picture.shape[:2]) for picture in pictures]
    canvas = preprocess.canvas(sizes[0])
    expected = preprocess.lay_out(pictures, sizes, canvas, 3)
    raw = preprocess.pack([picture[:, ::-1] for picture in pictures], sizes, canvas, 3)  # mirrored: not contiguous
    packed = preprocess.pack(pictures, sizes, canvas, 3).on(torch.device("cpu"))
    assert sum(picture.numel() for picture in raw.pictures) == sum(picture.size for picture in pictures)
    torch.testing.assert_close(packed.images, expected.images, rtol=0, atol=2e-6)
    for name in ("sizes", "original_sizes", "weight"):
        assert torch.equal(getattr(packed, name), getattr(expected, name))
    assert packed.images.is_contiguous(memory_format=torch.channels_last)
