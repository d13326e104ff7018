"""Training that ends where validation no longer gets better."""

from dataclasses import replace

import pytest
from conftest import TINY, prepare, rows_of, same_tensors, shape_data, tiny_config
from method_variants import SHORT

from rcnn.errors import ConfigError
from rcnn.presets.overrides import override, preset
from rcnn.runs import read_metadata
from rcnn.training.patience import enough_patience


def with_scores(scores, run, config, listener=None, **options):
    """A run whose epochs are judged by given scores."""
    training = prepare(shape_data(2, 1), run, config, listener, **options).training
    rest = iter(scores)
    training.session.evaluate = lambda: {"AP": next(rest), "AP50": 0.5}
    return training


def test_training_stops_after_so_many_epochs_without_a_better_ap_and_more_patience_goes_on(tmp_path, caplog):
    scores, config = [0.1, 0.4, 0.3, 0.4, 0.2, 0.5], tiny_config(epochs=6, patience=2)
    with caplog.at_level("INFO", "rcnn"):
        with_scores(scores, tmp_path / "run", config).run()
    said = "stopped after epoch 4 of 6: no better AP in 2 epochs than the 0.400 of epoch 2"
    assert any(said in record.message for record in caplog.records)
    assert read_metadata(tmp_path / "run" / "last.safetensors")["stopped"].startswith(said)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    prepare(shape_data(2, 1), tmp_path / "run", resume=True).training.run()
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before, "with the same patience it has ended"
    with_scores(scores[4:], tmp_path / "run", tiny_config(epochs=6, patience=4), resume=True).run()
    with_scores(scores, tmp_path / "straight", tiny_config(epochs=6, patience=4)).run()
    assert same_tensors(tmp_path / "run" / "last.safetensors", tmp_path / "straight" / "last.safetensors")
    assert not read_metadata(tmp_path / "run" / "last.safetensors")["stopped"]


def test_patience_ends_the_last_stage_of_four_and_it_can_still_go_on(tmp_path):
    settings = {"training.scheme": "4-step", "training.epochs": 3, "training.patience": 1}
    config = override(preset("demo"), None, (), TINY | SHORT | settings)
    training = prepare(shape_data(2, 1), tmp_path / "run", config).training
    training.tools = replace(training.tools, open=judged_by(training.tools.open, [0.5, 0.4, 0.6]))
    training.run()
    assert epochs_of(tmp_path / "run") == [1, 2]
    more = config.model_copy(update={"training": config.training.model_copy(update={"patience": 3})})
    prepare(shape_data(2, 1), tmp_path / "run", more, resume=True).training.run()
    assert epochs_of(tmp_path / "run") == [1, 2, 3]


def epochs_of(run):
    """The epochs of the last stage."""
    return [row["epoch"] for row in rows_of(run) if row["stage"] == "4-detector" and row["split"] == "train"]


def judged_by(opens, scores):
    def opened(stage, metadata):
        session, rest = opens(stage, metadata), iter(scores)
        session.evaluate = lambda: {"AP": next(rest), "AP50": 0.5}
        return session

    return opened


@pytest.mark.parametrize(("scores", "advised"), [([0.1, 0.4, 0.3, 0.2], True), ([0.1, 0.2, 0.3, 0.4], False)])
def test_patience_is_suggested_where_validation_turned(tmp_path, caplog, scores, advised):
    with caplog.at_level("INFO", "rcnn"):
        with_scores(scores, tmp_path / "run", tiny_config(epochs=4)).run()
    words = "AP was best in epoch 2 of 4 (0.400), whose weights are kept; --set training.patience=2 stops"
    assert any(record.message.startswith(words) for record in caplog.records) == advised


@pytest.mark.parametrize(
    ("scores", "enough"),
    [
        ([0.1, 0.4, 0.3, 0.2], 2),
        ([0.4, 0.1, 0.1, 0.1, 0.5, 0.1, 0.1], 4),  # it waited four epochs for the best
        ([0.5, 0.5, 0.5], 2),  # the first of equals is the best
        ([0.1, 0.2, 0.3], None),
        ([0.1, 0.3, 0.2], None),  # one epoch says little
        ([0.1] * 8 + [0.2, 0.1, 0.1], None),  # and two of eleven too
        ([], None),
    ],
)
def test_the_patience_that_is_advised_would_have_waited_for_the_best_epoch(scores, enough):
    assert enough_patience(scores) == enough
    if enough:
        assert stopped_with(enough, scores) == max(scores)


def stopped_with(patience, scores):
    """The best score of a training that ends after so many epochs without a better one."""
    best, waited = -1.0, 0
    for score in scores:
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited == patience:
            break
    return best


def test_patience_without_validation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^training\.patience: without validation nothing gets worse; pass 0"):
        prepare(shape_data(2, 0), tmp_path / "run", tiny_config(patience=2), val_split="none")
    assert not (tmp_path / "run").exists()
