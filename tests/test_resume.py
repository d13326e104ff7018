"""A run that was interrupted ends with bitwise the same weights as one that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import TINY_SETS, Silent, prepare, rows_of, same_tensors, shape_data, shape_sample, tiny_config, write_voc

from rcnn.cli import main
from rcnn.cli.progress import TrainingProgress
from rcnn.errors import ConfigError, WeightsError
from rcnn.runs import read_metadata
from rcnn.sample import DataSet
from rcnn.training.session import Stopped

TIMES = ("seconds", "images_per_second", "seconds_waiting_for_data")
KILLED = """
import os, signal, sys
from rcnn.cli import main
from rcnn.cli.progress import TrainingProgress

def stepped(self, progress, lr):
    if (progress.epoch, progress.batches) == (4, 2):
        os.kill(os.getpid(), signal.SIGKILL)

TrainingProgress.stepped = stepped
sys.exit(main(sys.argv[1:]))
"""


def words(data, out, *more):
    settings = [*TINY_SETS, "--epochs", "6", "--batch", "2", "--device", "cpu", "--no-report"]
    return ["train", str(data), "--preset", "demo", "--out", str(out), "--backbone-weights", "none", *settings, *more]


def assert_same_run(one, other):
    assert same_tensors(one / "model.safetensors", other / "model.safetensors")
    assert same_tensors(one / "last.safetensors", other / "last.safetensors")
    assert rows_of(one, *TIMES) == rows_of(other, *TIMES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("resume") / "data", shape_data(7, 2))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, data):
    """A run of six epochs that nothing interrupted."""
    out = tmp_path_factory.mktemp("resume") / "straight"
    assert main(words(data, out)) == 0
    return out


def test_a_run_killed_in_its_fourth_epoch_goes_on_as_if_nothing_had_happened(tmp_path, data, straight, quiet_log):
    out, environment = tmp_path / "run", os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, *words(data, out)]
    status = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120).returncode
    assert status == -signal.SIGKILL
    progress = read_metadata(out / "last.safetensors")["progress"]
    assert (progress["epoch"], progress["batches"]) == (4, 0)
    assert [row["epoch"] for row in rows_of(out)] == [1, 1, 2, 2, 3, 3]
    assert main(words(data, out, "--resume")) == 0
    assert_same_run(out, straight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_the_middle_of_its_epoch(
    tmp_path, data, straight, number, monkeypatch, capsys, quiet_log
):
    out, listener = tmp_path / "run", StopAt(4, 2, number)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "stepped", lambda self, progress, lr: listener.stepped(progress, lr))
        assert main(words(data, out)) == 130
    assert capsys.readouterr().err.endswith("rcnn: stopped in epoch 4; the state is saved, go on with --resume\n")
    progress = read_metadata(out / "last.safetensors")["progress"]
    assert (progress["epoch"], progress["batches"]) == (4, 2)
    assert (
        main(["train", str(data), "--out", str(out), "--resume", "--no-report", "--device", "cpu"]) == 0
    )  # the settings are the run's
    assert_same_run(out, straight)


class StopAt(Silent):
    """A listener that sends this process a signal after some batch of an epoch."""

    def __init__(self, epoch, batch, number=signal.SIGTERM):
        self.place, self.number = (epoch, batch), number

    def stepped(self, progress, lr):
        if (progress.epoch, progress.batches) == self.place:
            os.kill(os.getpid(), self.number)
            time.sleep(0.01)  # Python calls the handler between two of its instructions


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"accumulate": 2},
        {"scales": [48, 64], "flip": 0.5, "schedule": "step", "workers": 1},
    ],
    ids=["sgd", "sgd without momentum", "accumulated", "scales, mirrors and a worker"],
)
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_any_settings_and_any_batch_resume_bitwise(tmp_path, settings, batch):
    config, data = tiny_config(epochs=2, batch=1, **settings), shape_data(4, 0)
    prepare(data, tmp_path / "straight", config, val_split="none").training.run()
    with pytest.raises(Stopped):
        prepare(data, tmp_path / "run", config, StopAt(1, batch), val_split="none").training.run()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    prepare(data, tmp_path / "run", resume=True).training.run()
    assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_a_crash_between_the_metrics_and_the_state_repeats_the_epoch(tmp_path, monkeypatch):
    config, data = tiny_config(), shape_data(2, 1)
    prepare(data, tmp_path / "straight", config).training.run()
    session = prepare(data, tmp_path / "run", config).training.session
    true_save, saved = session._save_last, []

    def save():
        saved.append(1)
        if len(saved) == 3:
            raise MemoryError
        true_save()

    monkeypatch.setattr(session, "_save_last", save)
    with pytest.raises(MemoryError):
        session.run()
    assert len(rows_of(tmp_path / "run")) == 4
    prepare(data, tmp_path / "run", resume=True).training.run()
    assert_same_run(tmp_path / "run", tmp_path / "straight")


class CrashAt(Silent):
    """A listener that takes the whole run down after some batch of an epoch."""

    def __init__(self, epoch, batch):
        self.place = epoch, batch

    def stepped(self, progress, lr):
        if (progress.epoch, progress.batches) == self.place:
            raise MemoryError


@pytest.mark.parametrize("save_minutes", [10.0, 1e-9], ids=["from the beginning", "from the last save"])
def test_a_run_that_crashed_in_its_first_epoch_goes_on(tmp_path, save_minutes):
    config, data = tiny_config(epochs=1, batch=1, save_minutes=save_minutes), shape_data(4, 0)
    prepare(data, tmp_path / "straight", config, val_split="none").training.run()
    with pytest.raises(MemoryError):
        prepare(data, tmp_path / "run", config, CrashAt(1, 3), val_split="none").training.run()
    saved = read_metadata(tmp_path / "run" / "last.safetensors")["progress"]["batches"]
    assert saved == (0 if save_minutes == 10.0 else 2)
    prepare(data, tmp_path / "run", resume=True).training.run()
    assert_same_run(tmp_path / "run", tmp_path / "straight")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that came to its end, and its data."""
    out, data = tmp_path_factory.mktemp("resume") / "run", shape_data(2, 1)
    prepare(data, out, tiny_config(epochs=1)).training.run()
    return out, data


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_run_that_has_ended_is_left_as_it_is(ended):
    out, data = ended
    before = contents(out)
    prepare(data, out, resume=True).training.run()
    assert contents(out) == before


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({"lr": 0.5}, {}, r"training\.lr is 0\.5, but the run began with 0\.001"),
        ({"epochs": 5}, {}, r"training\.epochs is 5, but the run began with 1"),
        ({"seed": 3}, {}, r"training\.seed is 3, but"),
        ({}, {"backbone_weights": "other.pth"}, r"--backbone-weights is other\.pth, but the run began with none; add"),
        ({}, {"val_split": "none"}, "split val is none, but the run began with val"),
        ({}, {"overwrite": True}, "--resume and --overwrite: give one of them"),
    ],
)
def test_changed_settings_are_refused_in_one_line(ended, config, options, message):
    out, data = ended
    before = contents(out)
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(data, out, tiny_config(**{"epochs": 1} | config), resume=True, **options)
    assert "\n" not in str(caught.value)
    assert contents(out) == before


def test_other_classes_are_refused(ended):
    out, data = ended
    with pytest.raises(ConfigError, match="--resume: the run has classes disc, square; the data has others"):
        prepare(DataSet(data.splits, ("square", "disc")), out, resume=True)


def test_other_pictures_are_refused(ended):
    out, data = ended
    splits = data.splits | {"train": [*data.splits["train"], shape_sample("new")]}
    with pytest.raises(ConfigError, match="--resume: split train has other pictures"):
        prepare(DataSet(splits, data.class_names), out, resume=True)


def test_workers_may_change(ended):
    out, data = ended
    prepare(data, out, tiny_config(epochs=1, workers=1), resume=True)


def test_a_run_without_a_state_cannot_go_on(tmp_path):
    with pytest.raises(WeightsError, match="no such file; give the folder of a run"):
        prepare(shape_data(1, 0), tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_other_settings_on_the_command_line_are_refused(voc, run, capsys, quiet_log):
    assert main(["train", str(voc), "--out", str(run), "--resume", "--lr", "0.5", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    advice = "add --set training.lr=0.001 in place of --lr, or give --resume alone"
    assert error == f"rcnn: --resume: training.lr is 0.5, but the run began with 0.001; {advice}\n"
