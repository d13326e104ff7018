from pathlib import Path

import pytest

from rcnn.config import Config
from rcnn.errors import ConfigError
from rcnn.presets import PRESETS
from rcnn.presets.overrides import OPTIONS, override, preset
from rcnn.presets.yaml import to_yaml


def refused(file=None, sets=(), options=None) -> str:
    """The one line that a user gets for these settings."""
    with pytest.raises(ConfigError) as caught:
        override(Config(), file, sets, options or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize("name", PRESETS)
def test_a_printed_preset_loads_back_equal(name, tmp_path):
    config = preset(name)
    assert override(Config(), written(tmp_path, to_yaml(config)), [], {}) == config


def test_small_numbers_and_odd_texts_survive_yaml(tmp_path):
    config = override(Config(), None, ["weight_decay=1e-9", "scales=[400, 480]", "clip=1e6"], {})
    assert (config.training.weight_decay, config.training.scales) == (1e-9, (400, 480))
    assert override(Config(), written(tmp_path, to_yaml(config)), [], {}) == config


def test_printed_settings_carry_their_meaning_beside_or_above():
    lines = to_yaml(Config()).splitlines()
    assert "  short: 800                        # the short side after resizing" in lines
    assert lines[lines.index("    box_weights: [10.0, 10.0, 5.0, 5.0]") - 1].startswith("    # the box targets")
    assert lines[lines.index("input:") - 1] == "# From a picture to the network's input."
    assert any(line.split() == ["optimizer:", "sgd", "#", "sgd", "or", "adamw"] for line in lines)
    assert max(map(len, lines)) <= 120


def test_options_win_over_sets_and_sets_over_the_file(tmp_path):
    file = written(tmp_path, "training:\n  epochs: 3\n  batch: 3\n  seed: 3\n")
    config = override(Config(), file, ["batch=5", "training.seed=5"], {"training.seed": 7, "training.lr": None})
    training = config.training
    assert (training.epochs, training.batch, training.seed, training.lr) == (3, 5, 7, Config().training.lr)


def test_epochs_take_the_place_of_iterations_that_were_given_before(tmp_path):
    start = preset("faster-rcnn-vgg16").training
    assert (start.iterations, start.rpn_iterations) == (40_000, 80_000)
    for sets, options in ((["epochs=3"], {}), ([], {"training.epochs": 3})):
        training = override(preset("faster-rcnn-vgg16"), None, sets, options).training
        assert (training.epochs, training.iterations, training.rpn_iterations) == (3, 0, 0)
    training = override(preset("faster-rcnn-vgg16"), None, ["rpn_epochs=3"], {}).training
    assert (training.iterations, training.rpn_iterations) == (40_000, 0)
    training = override(preset("faster-rcnn-vgg16"), None, ["epochs=3", "training.iterations=7"], {}).training
    assert (training.epochs, training.iterations, training.rpn_iterations) == (3, 7, 0)
    file = written(tmp_path, to_yaml(preset("faster-rcnn-vgg16")))  # which names both
    assert override(Config(), file, [], {}) == preset("faster-rcnn-vgg16")
    training = override(Config(), file, [], {"training.epochs": 3}).training
    assert (training.epochs, training.iterations, training.rpn_iterations) == (3, 0, 0)


def test_a_partial_file_leaves_the_rest_of_the_preset(tmp_path):
    start = preset("demo")
    config = override(start, written(tmp_path, "model:\n  rpn:\n    nms: 0.8\n  head:\n"), [], {})
    assert config.model.rpn == start.model.rpn.model_copy(update={"nms": 0.8})
    assert (config.model.head, config.training) == (start.model.head, start.training)


def test_an_empty_file_changes_nothing(tmp_path):
    assert override(preset("demo"), written(tmp_path, "# nothing\n"), [], {}) == preset("demo")


def test_a_file_from_a_windows_editor_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbftraining:\r\n  epochs: 3\r\n")
    assert override(Config(), file, [], {}).training.epochs == 3


def test_the_end_of_a_name_is_enough_where_it_is_unique():
    config = override(Config(), None, ["lr=1e-3", "rpn.samples=64", "head={widths: [128], pool: 5}"], {})
    assert config.training.lr == 0.001
    assert config.model.rpn.samples == 64
    assert (config.model.head.widths, config.model.head.pool) == ((128,), 5)


def test_a_setting_that_is_a_mapping_stays_whole(tmp_path):
    config = override(Config(), None, ["class_weights={a.b: 2, c: 3}"], {})
    assert config.training.loss.class_weights == {"a.b": 2.0, "c": 3.0}
    assert override(Config(), written(tmp_path, to_yaml(config)), [], {}) == config
    assert override(config, None, ["class_weights={c: 1}"], {}).training.loss.class_weights == {"c": 1.0}
    assert override(config, None, ["class_weights={}"], {}) == Config()


def test_an_ambiguous_end_names_its_candidates():
    message = refused(sets=["samples=3"])
    assert "model.rpn.samples" in message
    assert "model.head.samples" in message


def test_a_short_name_is_refused_in_a_file(tmp_path):
    assert "did you mean training.lr?" in refused(written(tmp_path, "lr: 0.1\n"))


@pytest.mark.parametrize("key", ["lrr", "training.lrr", "trainig.lr", "model.lr"])
def test_an_unknown_key_is_answered_with_the_nearest(key):
    message = refused(sets=[f"{key}=1"])
    assert message.startswith(f"--set {key}=1: no setting {key} (did you mean training.lr?)")


def test_an_unknown_key_of_a_file_is_named_with_the_file(tmp_path):
    file = written(tmp_path, "training:\n  epoch: 3\n")
    assert refused(file).startswith(f"{file}: no setting training.epoch (did you mean training.epochs?)")


def test_a_group_is_not_a_setting():
    assert "model.rpn is a group of settings; set one of them, such as model.rpn." in refused(sets=["model.rpn=3"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lr=fast", 'training.lr: should be a valid number, not "fast"'),
        ("lr=-1", "training.lr: should be greater than 0, not -1"),
        ("lr=", "training.lr: should be a valid number, not null"),
        ("epochs=true", "training.epochs: should be a valid integer, not true"),
        ("epochs=1.5", "training.epochs: should be a valid integer, not 1.5"),
        ("scales=400", "training.scales: should be a list, not 400"),
        ("scales=[400, wide]", 'training.scales: should be a valid integer, not "wide"'),
        ("mean=[1, 2]", "input.mean: 2 items for 3 channels; give one for each"),
        ("mean=[1, 2, 3, 4]", "input.mean: 4 items for 3 channels; give one for each"),
        ("class_weights=all", "training.loss.class_weights: should be 'balanced', not \"all\""),
        ("class_weights=[2]", "training.loss.class_weights: should be a mapping"),
        ("class_weights={cat: 0}", "training.loss.class_weights: should be greater than 0, not 0"),
        ("scale_jitter=[2, 1]", "training.augment.scale_jitter: 2 is above 1; give the lower factor first"),
        ("optimizer=adam", "training.optimizer: should be 'sgd' or 'adamw', not \"adam\""),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(text, problem):
    assert refused(sets=[text]) == f"--set {text}: {problem}"


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    message = refused(written(tmp_path, "training: {lr: -1}\n"), ["epochs=0"], {"training.batch": 0})
    assert "mine.yaml: training.lr: should be greater than 0, not -1" in message
    assert "--set epochs=0: training.epochs: should be greater than 0, not 0" in message
    assert "; training.batch: should be greater than 0, not 0" in message


def test_an_option_is_named_as_it_was_typed_and_once():
    with pytest.raises(ConfigError) as caught:
        override(Config(), None, (), {"input.short": -5, "input.long": -9, "training.epochs": 0}, OPTIONS)
    wanted = "--size: input.short: should be greater than or equal to 32, not -5"
    assert str(caught.value) == f"{wanted}; --epochs: training.epochs: should be greater than 0, not 0"


def test_settings_at_odds_with_each_other_are_refused():
    assert refused(sets=["short=900", "long=800"]) == "input: long (800) is below short (900)"


@pytest.mark.parametrize("text", ["lr", "=1", ""])
def test_a_set_without_key_or_value_is_refused(text):
    assert "not KEY=VALUE" in refused(sets=[text])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("training:\n  lr: [1\n", ", line 3: not valid YAML"),
        ("training:\n  lr: 1\n  seed: 1\n  lr: 2\n", ", line 4: not valid YAML: lr is given twice"),
        ("training:\n\tlr: 1\n", ", line 2: not valid YAML"),
        ("training:\n  lr: 2024-99-99\n", ": not valid YAML: month must be in 1..12"),
        ("lr: \x00\n", ": not valid YAML: unacceptable character"),
        ("- training\n", ": not a mapping of settings"),
        ("just text\n", ": not a mapping of settings"),
    ],
)
def test_a_file_that_is_not_settings_is_refused_with_its_name(content, problem, tmp_path):
    file = written(tmp_path, content)
    assert refused(file).startswith(f"{file}{problem}")


def test_a_missing_or_binary_file_is_refused_with_its_name(tmp_path):
    assert refused(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: No such file")
    binary = tmp_path / "picture.jpg"
    binary.write_bytes(b"\xff\xd8\xff\xe0")
    assert refused(binary).startswith(f"{binary}: not a text file")


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean faster-rcnn-r18-fpn\?"):
        preset("faster-rcnn-r18")


def test_the_beginning_of_several_presets_is_answered_with_all_of_them():
    with pytest.raises(ConfigError, match=r"'sppnet' \(did you mean sppnet-mobilenet, sppnet-zf\?\)"):
        preset("sppnet")
