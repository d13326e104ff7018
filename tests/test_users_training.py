"""What users of other libraries suffer from in training, one test for each pain and its answer."""

import math
from collections import Counter

import pytest
from conftest import TINY_SETS, Silent, prepare, rows_of, shape_data, tiny_config
from test_patience import with_scores
from test_training import Spoiled

from rcnn.cli import main
from rcnn.data.repeats import repeat_factors
from rcnn.errors import ConfigError, TrainingError
from rcnn.runs import read_metadata


def test_a_rate_for_many_pictures_a_step_is_scaled_to_those_of_this_machine_and_the_plan_says_so(
    voc, tmp_path, capsys, quiet_log
):
    words = ["--set", "training.optimizer=sgd", "--lr", "0.08", "--batch", "1", "--set", "accumulate=2"]
    common = ["train", str(voc), "--preset", "demo", *TINY_SETS, "--epochs", "1", "--device", "cpu", "--no-report"]
    assert main([*common, *words, "--backbone-weights", "none", "--out", str(tmp_path / "run")]) == 0
    assert "sgd, rate 0.01 for 2 pictures a step (0.08 for 16 pictures a step)" in capsys.readouterr().out


def test_a_loss_that_diverges_is_named_with_its_batch_and_what_to_do(tmp_path):
    session = prepare(shape_data(4, 0), tmp_path / "run", tiny_config(batch=2), val_split="none").training.session
    session.trainer.objective = Spoiled(session.trainer.objective, at=2)
    with pytest.raises(TrainingError) as caught:
        session.run()
    order = [[f"train{draw.index}" for draw in draws] for draws in session.train.sampler]
    assert str(caught.value) == (
        f"epoch 1, step 1: loss score is nan (pictures {', '.join(order[1])}); lower --lr, or look at these pictures"
    )


def test_the_validation_loss_is_there_without_a_flag_and_is_that_of_the_same_losses(tmp_path):
    prepare(shape_data(2, 1), tmp_path / "run", tiny_config(epochs=1)).training.run()
    train, val = rows_of(tmp_path / "run")
    assert train["losses"].keys() == val["losses"].keys()
    assert math.isfinite(val["loss"])


def test_training_stops_early_by_patience_keeps_its_best_and_says_why(tmp_path):
    kept = []

    class Listener(Silent):
        def epoch_ended(self, rows, best):
            kept.append(best)

    with_scores([0.1, 0.3, 0.2], tmp_path / "run", tiny_config(epochs=9, patience=1), Listener()).run()
    assert kept == [True, True, False]
    assert "no better AP in 1 epochs" in read_metadata(tmp_path / "run" / "last.safetensors")["stopped"]


@pytest.mark.parametrize(
    "change",
    [{"ema": 0.9}, {"lr": 0.5}, {"repeat": 0.1}, {"accumulate": 2}, {"optimizer": "sgd"}],
    ids=lambda change: next(iter(change)),
)
def test_a_resumed_run_refuses_a_setting_that_changes_what_is_learned(run_of_one_epoch, change):
    data, out = run_of_one_epoch
    (name,) = change
    with pytest.raises(ConfigError, match=rf"^--resume: training\.{name} is .*, but the run began with .*; add --set"):
        prepare(data, out, tiny_config(**{"epochs": 1} | change), resume=True)


def test_a_resumed_run_takes_settings_that_change_nothing_of_it(run_of_one_epoch):
    data, out = run_of_one_epoch
    prepare(data, out, tiny_config(epochs=1, workers=1, save_minutes=3.0, patience=7), resume=True)


@pytest.fixture(scope="module")
def run_of_one_epoch(tmp_path_factory):
    out, data = tmp_path_factory.mktemp("users") / "run", shape_data(2, 1)
    prepare(data, out, tiny_config(epochs=1)).training.run()
    return data, out


@pytest.mark.parametrize(
    "answer", ["class_weights={disc: 4.0}", "class_weights=balanced", "loss.classes=focal", "training.repeat=0.9"]
)
def test_against_imbalance_one_setting_is_enough(voc, tmp_path, quiet_log, answer):
    common = [
        "train",
        str(voc),
        "--preset",
        "demo",
        *TINY_SETS,
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--val-split",
        "none",
    ]
    out = ["--backbone-weights", "none", "--out", str(tmp_path / "run"), "--set", answer]
    assert main([*common, *out]) == 0
    key, _, value = answer.partition("=")
    assert f"{key.rpartition('.')[2]}:" in (tmp_path / "run" / "config.yaml").read_text()
    assert value != "balanced" or "balanced\n" not in (tmp_path / "run" / "config.yaml").read_text()


def test_pictures_of_a_rare_class_come_more_often_in_an_epoch(tmp_path):
    data = shape_data(8, 0)
    factors = repeat_factors(data.splits["train"], 1.0)
    prepared = prepare(data, tmp_path / "run", tiny_config(repeat=1.0, batch=1, epochs=1), val_split="none")
    come = Counter(draw.index for draws in prepared.training.session.train.sampler for draw in draws)
    assert max(factors) > 1
    assert all(int(factor) <= come[index] <= int(factor) + 1 for index, factor in enumerate(factors))
    assert len(factors) < come.total() <= sum(map(math.ceil, factors))
