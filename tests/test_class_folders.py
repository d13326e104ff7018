"""Class folders: their splits, their labels, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn.data.class_batches import ClassBatches
from rcnn.data.class_folders import LabelledPicture, read_class_folders
from rcnn.errors import DataError


def write(root, *names):
    """Pictures of 12 x 10 pixels; folders come with them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 12, 3), 99, np.uint8)).save(path)
    return root


def ids(pictures):
    return [(picture.id, picture.label) for picture in pictures]


def test_folders_are_classes_in_the_order_of_their_names_and_part_of_each_is_held_back(tmp_path):
    names = [f"{kind}/{n}.png" for kind in ("dog", "cat") for n in range(20)]
    data = read_class_folders(write(tmp_path, *names))
    assert data.class_names == ("cat", "dog")
    assert [sum(p.label == label for p in data.val) for label in (0, 1)] == [3, 3]
    assert sorted(ids(data.train + data.val)) == sorted((name, int("dog" in name)) for name in names)
    assert all(("dog" in p.id) == (p.label == 1) for p in data.train)


def test_the_part_held_back_is_always_the_same_and_never_a_class_whole(tmp_path):
    write(tmp_path, "a/1.png", "a/2.png", "b/only.png")
    first, second = read_class_folders(tmp_path), read_class_folders(tmp_path)
    assert ids(first.val) == ids(second.val)
    assert [p.label for p in first.val] == [0]
    assert {p.label for p in first.train} == {0, 1}


def test_train_and_val_folders_are_used_as_they_are(tmp_path):
    write(tmp_path, "Train/a/1.png", "Train/b/deep/2.PNG", "val/b/3.png")
    data = read_class_folders(tmp_path)
    assert (ids(data.train), ids(data.val)) == ([("a/1.png", 0), ("b/deep/2.PNG", 1)], [("b/3.png", 1)])


def test_test_serves_where_there_is_no_val(tmp_path):
    data = read_class_folders(write(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png"))
    assert ids(data.val) == [("a/3.png", 0)]


def test_train_beside_other_folders_is_a_class(tmp_path):
    data = read_class_folders(write(tmp_path, "train/1.png", "train/2.png", "bus/1.png", "bus/2.png"))
    assert data.class_names == ("bus", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "0 folders in it; give one that holds a folder of pictures for each class"),
        (("a/1.png",), "1 folders in it"),
        (("train/a/1.png", "train/b/1.png", "val/c/1.png"), "c: a class that is not in train"),
        (("a/1.png", "b/1.png"), "no class has two pictures"),
    ],
)
def test_folders_that_cannot_serve_are_refused(tmp_path, files, message):
    write(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        read_class_folders(tmp_path)


def test_a_class_without_pictures_and_a_folder_that_is_not_there_are_refused(tmp_path):
    write(tmp_path, "a/1.png", "a/2.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b: no pictures in it"):
        read_class_folders(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_class_folders(tmp_path / "nowhere")


def noise(count):
    rng = np.random.default_rng(0)
    return [LabelledPicture(f"p{n}", rng.integers(0, 256, (20, 24, 3), dtype=np.uint8), n % 2) for n in range(count)]


def drawn(batches, epoch, skip=0):
    return [(item.batch, item.indices) for item in batches.epoch(epoch, skip)]


def test_batches_follow_from_seed_and_epoch_alone():
    one, other = (ClassBatches(noise(7), 16, 3, seed=4) for _ in range(2))
    state = torch.random.get_rng_state()
    first, again = drawn(one, 2), drawn(one, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [indices for _, indices in first] == [indices for _, indices in again]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    (rest,) = drawn(other, 2, skip=1)
    assert torch.equal(rest[0], first[1][0])
    assert [indices for _, indices in drawn(one, 3)] != [indices for _, indices in first]


def test_whole_batches_teach_and_every_picture_is_measured():
    learning, measuring = ClassBatches(noise(7), 16, 3), ClassBatches(noise(7), 16, 3, learning=False)
    assert [len(item.indices) for item in learning.epoch(1)] == [3, 3]
    assert [item.indices for item in measuring.epoch(0)] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert len(list(ClassBatches(noise(2), 16, 3).epoch(1))) == 1


def test_pictures_are_normalised_squares_with_their_labels():
    (item,) = ClassBatches(noise(4), 16, 4, learning=False).epoch(0)
    assert item.batch.shape == (4, 3, 16, 16)
    assert item.targets.tolist() == [0, 1, 0, 1]
    white = LabelledPicture("w", np.full((20, 30, 3), 255, np.uint8), 0)
    (item,) = ClassBatches([white], 16, 1, learning=False).epoch(0)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(item.batch[0, :, 3, 5], expected)


def test_a_broken_picture_is_named_by_workers_too(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"junk")
    for workers in (0, 1):
        batches = ClassBatches([LabelledPicture("bad", tmp_path / "bad.png", 0)], 16, 1, workers=workers)
        with pytest.raises(DataError, match=r"bad.png: not a picture") as caught:
            list(batches.epoch(1))
        assert "\n" not in str(caught.value)
