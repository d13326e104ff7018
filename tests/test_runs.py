"""A run's folder: files whole or not at all, and nothing foreign taken for one."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rcnn.errors import ConfigError, WeightsError
from rcnn.runs import RunFolder, read_metadata, write_bytes, write_text
from rcnn.runs.tensors import read_tensors, write_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}


def filled(path) -> RunFolder:
    """A folder with a file of every sort that a run writes."""
    folder = RunFolder(path)
    folder.create(overwrite=False)
    write_tensors(folder.best, TENSORS, {})
    write_tensors(folder.last, TENSORS, {})
    for file in (folder.config, folder.splits):
        write_text(file, "{}")
    folder.append_metrics([{"epoch": 1}])
    folder.events.mkdir()
    (folder.events / "events.out.tfevents.1").touch()
    return folder


def test_tensors_and_metadata_come_back_as_they_were(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, {"class_names": ["é", "b"], "value": 0.1 + 0.2})
    tensors, metadata = read_tensors(tmp_path / "a.safetensors")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert metadata == {"format_version": 1, "class_names": ["é", "b"], "value": 0.1 + 0.2}
    assert read_metadata(tmp_path / "a.safetensors") == metadata


def test_the_layout_in_memory_does_not_matter(tmp_path):
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    write_tensors(tmp_path / "a.safetensors", {"w": weight, "t": weight[0, 0].T}, {})
    tensors, _ = read_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["w"], weight)
    assert torch.equal(tensors["t"], weight[0, 0].T)


@pytest.mark.parametrize("step", ["open", "flush", "rename"])
def test_a_crash_while_writing_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(*_):
        raise OSError("disk full")

    owner, name = {"open": (Path, "open"), "flush": (os, "fsync"), "rename": (Path, "replace")}[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="disk full"):
            write_bytes(path, b"new, but not all of it")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    path, steps = tmp_path / "file.txt", []
    write_text(path, "old")
    true_sync = os.fsync

    def sync(descriptor):
        steps.append(path.read_text())
        true_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_text(path, "new")
    assert steps == ["old"]
    assert path.read_text() == "new"


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, {"format_version": 99})
    with pytest.raises(WeightsError, match=r"format 99, and this version reads up to 1; upgrade rcnn$") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"rcnn": "no json"}, {"rcnn": "{}"}, {"rcnn": "[1]"}])
def test_foreign_tensors_are_refused_in_one_line(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    save_file(TENSORS, path, metadata)
    with pytest.raises(WeightsError, match="not one of this library's runs") as caught:
        read_metadata(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, part):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match="not a whole safetensors file") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_with_a_guess(tmp_path):
    with pytest.raises(WeightsError, match="no such file; give the folder of a run"):
        read_tensors(tmp_path / "model.safetensors")


def test_a_folder_that_exists_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="exists; pass --resume to go on with it, or --overwrite"):
        RunFolder(tmp_path).create(overwrite=False)


@pytest.mark.parametrize("name", ["file", "file/run", "file/deeper/run"])
def test_a_file_is_never_made_a_folder(tmp_path, name):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match="a file"):
        RunFolder(tmp_path / name).create(overwrite=True)
    assert (tmp_path / "file").read_text() == "precious"


def test_overwrite_removes_a_runs_own_files_only(tmp_path):
    folder = filled(tmp_path / "run")
    foreign = {"notes.txt", "events/other.txt", "mine/model.safetensors", "other.safetensors"}
    for name in foreign:
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).touch()
    folder.create(overwrite=True)
    left = {file.relative_to(folder.path).as_posix() for file in folder.path.rglob("*") if file.is_file()}
    assert left == foreign


def test_what_a_killed_writer_left_goes_with_the_run(tmp_path):
    folder = filled(tmp_path / "run")
    (folder.path / ".last.safetensors.4711").touch()
    folder.create(overwrite=True)
    assert not [file for file in folder.path.iterdir() if file.is_file()]


def test_metrics_are_lines_that_are_added(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics([{"epoch": 1, "split": "train"}, {"epoch": 1, "split": "val"}])
    folder.append_metrics([{"epoch": 2, "split": "train"}])
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(line["epoch"], line["split"]) for line in lines] == [(1, "train"), (1, "val"), (2, "train")]


def test_metrics_of_epochs_that_were_not_saved_are_cut(tmp_path):
    folder = RunFolder(tmp_path)
    folder.cut_metrics("second", 3)
    assert not folder.metrics.exists()
    rows = [("first", 5), ("second", 1), ("second", 1), ("second", 2), ("second", 3)]
    folder.append_metrics({"stage": stage, "epoch": epoch} for stage, epoch in rows)
    folder.cut_metrics("second", 2)
    kept = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in kept] == rows[:-1]
