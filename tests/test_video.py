"""Films: frames in order, drawn films that are whole or not there, and one line for what is no film."""

import json

import numpy as np
import pytest
import torch

from rcnn.choices import is_film
from rcnn.cli import main
from rcnn.errors import ConfigError, DataError
from rcnn.inference.video import drawn_film, json_line, opened
from rcnn.structures import Detections

pytest.importorskip("cv2", reason="needs the extra `video`")
LEVELS = (20, 90, 160, 230)


def film(path, levels=LEVELS):
    with drawn_film(path, 10.0, (48, 64)) as writer:
        for level in levels:
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[..., 0] = level
            writer.write(picture)
    return path


def test_a_film_comes_back_frame_by_frame_with_its_colours_and_times(tmp_path):
    with opened(str(film(tmp_path / "a.mp4"))) as source:
        frames = list(source.frames())
        assert (source.rate, source.size) == (10, (48, 64))
    assert [frame.number for frame in frames] == [1, 2, 3, 4]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    for frame, level in zip(frames, LEVELS, strict=True):
        assert frame.rgb[..., 0].mean() == pytest.approx(level, abs=12)
        assert frame.rgb[..., 2].mean() < 12


def test_what_was_written_of_a_film_that_broke_off_can_be_seen(tmp_path):
    def broken_off():
        with drawn_film(tmp_path / "a.mp4", 10.0, (48, 64)) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    with opened(str(tmp_path / "a.mp4")) as source:
        assert len(list(source.frames())) == 1


def test_no_film_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    for name, error, said in (
        (str(tmp_path / "a.mp4"), DataError, "holds no film"),
        (str(tmp_path / "b.mp4"), DataError, "no such film"),
        ("camera:front", ConfigError, "camera:0"),
    ):
        with pytest.raises(error, match=said) as raised, opened(name):
            pass
        assert "\n" not in str(raised.value)


def test_films_and_cameras_are_told_from_pictures():
    assert all(map(is_film, ("a.MP4", "x/y.mov", "camera:0", "rtsp://host/1")))
    assert not any(map(is_film, ("a.jpg", "photos", "mp4", "photos/*.png")))


def test_a_line_of_json_tells_what_is_in_a_frame(tmp_path):
    with opened(str(film(tmp_path / "a.mp4"))) as source:
        frame = next(source.frames())
    found = Detections(torch.tensor([[1.0, 2, 3.456, 4]]), torch.tensor([0.75]), torch.tensor([2]), ("a", "b"))
    assert json.loads(json_line(frame, found)) == {
        "frame": 1,
        "seconds": 0.0,
        "detections": [{"class": "b", "score": 0.75, "box": [1.0, 2.0, 3.46, 4.0]}],
    }


def test_a_film_is_predicted_drawn_and_told_frame_by_frame(tmp_path, monkeypatch, capsys):
    class Finder:
        class_names = ("a", "b")
        proposer, category_ids = None, {}

        def predict_each(self, pictures, batch, score):
            for picture in pictures:
                box = torch.tensor([[4.0, 4, 4 + picture[..., 0].mean() / 8, 20], [1, 1, 9, 9]])
                yield Detections(box, torch.tensor([0.9, 0.8]), torch.tensor([1, 2]), self.class_names)

    monkeypatch.setattr("rcnn.api.load_named", lambda *_: Finder())
    name = str(film(tmp_path / "a.mp4"))
    words = ["predict", "torchvision:any", name, "--out", str(tmp_path / "found")]
    assert main([*words, "--batch", "3", "--class", "a"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "found" / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [1, 2, 3, 4]
    assert [one["class"] for line in lines for one in line["detections"]] == ["a"] * 4
    widths = [line["detections"][0]["box"][2] for line in lines]
    assert widths == sorted(widths)
    with opened(str(tmp_path / "found" / "a.mp4")) as drawn:
        assert len(list(drawn.frames())) == 4
    assert "4 frames at" in capsys.readouterr().out
    assert main(["predict", "torchvision:any", name, "--out", str(tmp_path)]) == 2
    assert "would be replaced" in capsys.readouterr().err
