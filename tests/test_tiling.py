"""Large pictures piece by piece, and several looks at one: each object is found once, in the picture's own pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn.cli import main
from rcnn.data.preprocess import Preprocess
from rcnn.errors import ConfigError
from rcnn.inference.merging import merged
from rcnn.inference.predictor import Detector
from rcnn.inference.tiling import is_cut, predict_tiled
from rcnn.inference.views import at_size, mirrored, predict_views
from rcnn.inference.ways import Tiles, Views
from rcnn.structures import Detections

RED, BLUE = (255, 0, 0), (0, 0, 255)


class Finder(Detector):
    """Finds rectangles of pure red and blue, those cut by a picture's edge too; a score is the rectangle's share."""

    def __init__(self):
        self.preprocess, self.class_names, self.max_pixels = Preprocess(64, 96), ("red", "blue"), 10**8
        self.looks = []

    def predict(self, pictures, batch=1, score=0.0):
        pictures = [pictures] if isinstance(pictures, np.ndarray) else pictures
        for picture in pictures:
            self.looks.append((picture.shape[:2], self.preprocess.short))
            rows = [(box, n) for n, colour in enumerate((RED, BLUE), 1) for box in rectangles(picture, colour)]
            boxes = torch.tensor([box for box, _ in rows], dtype=torch.float32).reshape(-1, 4)
            scores = 0.5 + (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1e5
            yield Detections(boxes, scores, torch.tensor([n for _, n in rows], dtype=torch.int64), self.class_names)


def rectangles(picture, colour):
    from scipy.ndimage import find_objects, label

    for rows, columns in find_objects(label((picture == colour).all(axis=2))[0]):
        yield columns.start, rows.start, columns.stop, rows.stop


def scene(size, boxes):
    picture = np.full((*size, 3), 128, np.uint8)
    for colour, (x1, y1, x2, y2) in boxes:
        picture[y1:y2, x1:x2] = colour
    return picture


def found_in(found):
    return sorted((name, *map(int, box)) for name, box in zip(found.names, found.boxes.tolist(), strict=True))


def test_tiles_cover_the_picture_evenly_and_share_what_was_asked():
    windows = Tiles(100, 0.2).windows((250, 100))
    assert windows == [(0, 0, 100, 100), (0, 75, 100, 175), (0, 150, 100, 250)]
    for size in ((1, 1), (99, 101), (100, 100), (1000, 730)):
        covered = np.zeros(size, bool)
        for left, top, right, bottom in Tiles(100, 0.3).windows(size):
            assert right - left == min(100, size[1])
            assert bottom - top == min(100, size[0])
            covered[top:bottom, left:right] = True
        assert covered.all()


def test_objects_on_the_borders_of_tiles_are_found_once_and_whole():
    rng = np.random.default_rng(0)
    boxes = []
    for row in range(8):
        for column in range(8):
            x, y = column * 50 + int(rng.integers(20)), row * 50 + int(rng.integers(20))
            boxes.append(((RED, BLUE)[(row + column) % 2], (x, y, x + 19, y + 19)))
    picture = scene((400, 400), boxes)
    (found,) = predict_tiled(Finder(), [picture], Tiles(100, 0.3, whole=False))
    assert found_in(found) == sorted((("red" if c == RED else "blue"), *box) for c, box in boxes)
    assert (found.scores.diff() <= 0).all()


def test_what_is_larger_than_a_tile_is_found_in_the_whole_picture():
    picture = scene((300, 300), [(RED, (20, 30, 250, 270))])
    finder = Finder()
    (found,) = predict_tiled(finder, [picture], Tiles(100, 0.2))
    assert found_in(found) == [("red", 20, 30, 250, 270)]
    assert finder.looks[-1][0] == (300, 300)
    (pieces,) = predict_tiled(Finder(), [picture], Tiles(100, 0.2, whole=False))
    assert len(pieces) > 1


def test_a_picture_no_larger_than_a_tile_is_looked_at_once():
    finder = Finder()
    (found,) = predict_tiled(finder, [scene((60, 80), [(RED, (0, 0, 10, 10))])], Tiles(100))
    assert finder.looks == [((60, 80), 64)]
    assert found_in(found) == [("red", 0, 0, 10, 10)]


def test_the_pictures_own_edges_cut_nothing():
    found = Detections(torch.tensor([[0.0, 0, 9, 9], [90, 40, 100, 50]]), torch.ones(2), torch.ones(2).long(), ("a",))
    assert is_cut(found, (0, 0, 100, 100), (300, 300)).tolist() == [False, True]
    assert is_cut(found, (200, 0, 300, 100), (300, 300)).tolist() == [True, False]


def test_other_classes_and_separate_objects_stay():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    found = Detections(boxes, torch.tensor([0.8, 0.9, 0.7, 0.1]), torch.tensor([1, 1, 2, 1]), ("a", "b"))
    assert merged(found, 0.5).scores.tolist() == pytest.approx([0.9, 0.7, 0.1])


def test_many_detections_are_merged_as_a_loop_over_all_pairs_says():
    rng = np.random.default_rng(1)
    corner, side = rng.uniform(0, 60, (80, 2)), rng.uniform(5, 30, (80, 2))
    boxes = torch.tensor(np.concatenate((corner, corner + side), axis=1), dtype=torch.float32)
    found = Detections(boxes, torch.tensor(rng.permutation(80) / 80), torch.tensor(rng.integers(1, 3, 80)), ("a", "b"))
    kept = []
    for n in found.scores.argsort(descending=True).tolist():
        x1, y1, x2, y2 = boxes[n].double().tolist()
        for m in kept:
            u1, v1, u2, v2 = boxes[m].double().tolist()
            common = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
            union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common
            if found.labels[n] == found.labels[m] and common / union > 0.3:
                break
        else:
            kept.append(n)
    assert torch.equal(merged(found, 0.3).boxes, boxes[kept])


def test_mirrored_looks_come_back_where_they_belong():
    picture = scene((60, 90), [(RED, (5, 10, 25, 30)), (BLUE, (60, 5, 80, 50))])
    finder = Finder()
    (found,) = predict_views(finder, [picture], Views(flip=True))
    assert len(finder.looks) == 2
    assert found_in(found) == [("blue", 60, 5, 80, 50), ("red", 5, 10, 25, 30)]
    assert mirrored(torch.tensor([[5.0, 10, 25, 30]]), 90).tolist() == [[65, 10, 85, 30]]


def test_several_sizes_are_looked_at_by_one_network():
    finder = Finder()
    (found,) = predict_views(finder, [scene((60, 90), [(RED, (5, 10, 25, 30))])], Views((48, 128)))
    assert [short for _, short in finder.looks] == [48, 128]
    assert len(found) == 1
    assert (at_size(finder, 128).preprocess.long, finder.preprocess.short) == (192, 64)


@pytest.mark.parametrize("settings", [{"side": 0}, {"overlap": 1.0}, {"overlap": -0.1}])
def test_tiles_that_cannot_be_laid_are_refused(settings):
    with pytest.raises(ConfigError, match="tiles of"):
        Tiles(**settings)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "bleu"], "did you mean blue?"),
        (["--class", "tree"], "it knows red, blue"),
        (["--sizes", "4x"], "--sizes 4x: give short sides"),
        (["--sizes", "5"], "at least 32"),
        (["--tile", "64", "--flip"], "leave --flip and --sizes out"),
    ],
)
def test_looks_that_cannot_be_had_are_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rcnn.api.load_named", lambda *_: Finder())
    Image.fromarray(scene((60, 60), [])).save(tmp_path / "a.png")
    assert main(["predict", "torchvision:any", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_command_looks_in_tiles_and_goes_on_after_a_broken_picture(tmp_path, monkeypatch, capsys):
    finder = Finder()
    finder.proposer, finder.category_ids = None, {}
    monkeypatch.setattr("rcnn.api.load_named", lambda *_: finder)
    Image.fromarray(scene((200, 200), [(RED, (90, 90, 110, 110))])).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_text("text")
    words = ["predict", "torchvision:any", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*words, "--tile", "100", "--overlap", "0.3"]) == 1
    told = capsys.readouterr()
    assert "skipped" in told.err
    assert "b.png: 1 red" in told.out
    assert len(finder.looks) == 10
