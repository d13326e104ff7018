"""What all protocols share: input checks, the JSON form, and the self-test on truth."""

import json
import math

import numpy as np
import pytest
import torch

from rcnn.errors import ConfigError, DataError
from rcnn.evaluation import check_protocol, evaluate
from rcnn.sample import Sample
from rcnn.structures import Detections

NAMES = ("cat", "dog")
PROTOCOLS = ("voc07", "voc", "coco")
BOX, OTHER = [0, 0, 10, 10], [20, 0, 60, 40]


def sample(boxes, names, name="p", **flags):
    flags = {key: np.array(value) for key, value in flags.items()}
    return Sample(name, np.zeros((1, 1, 3), np.uint8), np.array(boxes, np.float32), tuple(names), **flags)


def detections(boxes=(BOX,), scores=(0.9,), labels=(1,), names=NAMES):
    return Detections(torch.tensor(boxes, dtype=torch.float32), torch.tensor(scores), torch.tensor(labels), names)


def test_coco_json_has_flat_metrics_and_null_without_truth():
    result = evaluate([sample([BOX], ["cat"])], [detections()], NAMES, "coco").to_json()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result)[:5] == ["protocol", "pictures", "AP", "AP50", "AP75"]
    assert (result["protocol"], result["pictures"], result["AP_large"]) == ("coco", 1, None)
    assert result["per_class"]["cat"] == {"AP": pytest.approx(1), "AP50": pytest.approx(1)}
    assert result["per_class"]["dog"] == {"AP": None, "AP50": None}


@pytest.mark.parametrize("protocol", ["voc07", "voc"])
def test_voc_json_has_the_mean_and_each_class(protocol):
    result = evaluate([sample([BOX], ["cat"])], [detections()], NAMES, protocol).to_json()
    per_class = {"cat": {"AP": 1.0}, "dog": {"AP": None}}
    assert result == {"protocol": protocol, "pictures": 1, "mAP": 1.0, "per_class": per_class}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "1 samples but 0 detections"),
        ([detections(names=("dog", "cat"))], "sample p: its detections are of the classes dog, cat"),
        ([detections(labels=(3,))], "sample p: labels of its detections are not all in 1..2"),
        ([detections(labels=(0,))], "sample p: labels of its detections are not all in 1..2"),
        ([detections(scores=(math.nan,))], "sample p: scores of its detections are not finite"),
        ([detections(boxes=([0, 0, math.inf, 1],))], "sample p: boxes of its detections are not finite"),
    ],
)
def test_detections_that_do_not_fit_the_samples_are_refused_in_one_line(found, message):
    with pytest.raises(DataError) as caught:
        evaluate([sample([BOX], ["cat"])], found, NAMES, "voc")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truth_of_an_unknown_class_is_refused(protocol):
    samples = [sample([BOX], ["cow"])]
    with pytest.raises(DataError, match="sample p: unknown class 'cow'; the classes are cat, dog"):
        evaluate(samples, [detections()], NAMES, protocol)
    with pytest.raises(DataError, match="unknown class 'cow'"):
        check_protocol(samples, NAMES, protocol)


def test_an_unknown_protocol_is_refused():
    # Where types are checked at run time, that check comes first.
    with pytest.raises((ConfigError, TypeError), match="pascal"):
        evaluate([], [], NAMES, "pascal")


def test_a_limit_that_leaves_no_detection_is_refused():
    with pytest.raises(ConfigError, match="max_detections is 0; give at least 1"):
        evaluate([], [], NAMES, "coco", max_detections=0)


def random_truth(seed, pictures=6):
    """No to 750 objects a picture, some difficult or crowd, no two boxes alike."""
    rng = np.random.default_rng(seed)
    samples = []
    for picture in range(pictures):
        count = 150 * picture
        corner, size = rng.uniform(0, 200, (count, 2)), rng.uniform(2, 150, (count, 2))
        flags = rng.random((2, count)) < 0.1
        boxes = np.concatenate([corner, corner + size], axis=1)
        samples.append(sample(boxes, rng.choice(NAMES, count), str(picture), difficult=flags[0], crowd=flags[1]))
    return samples


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truth_as_predictions_scores_one_without_a_warning(protocol):
    assert check_protocol(random_truth(0), NAMES, protocol) == ()


@pytest.mark.parametrize("protocol", ["voc07", "voc"])
@pytest.mark.parametrize("difficult", [[False, False, False], [True, False, False]])
def test_identical_boxes_of_a_class_are_a_warning_under_voc(protocol, difficult):
    twins = sample([BOX, BOX, OTHER], ["cat", "cat", "dog"], "twins", difficult=difficult)
    (warning,) = check_protocol([sample([BOX, OTHER], NAMES), twins], NAMES, protocol)
    assert warning.startswith("cat cannot reach an average precision of 1")
    assert "pictures with identical boxes of one class: 1 (twins)" in warning
    assert "\n" not in warning


def test_a_warning_names_a_few_pictures_and_counts_the_rest():
    samples = [sample([BOX, BOX], ["cat", "cat"], f"p{i}") for i in range(8)]
    (warning,) = check_protocol(samples, NAMES, "voc")
    assert "class: 8 (p0, p1, p2, p3, p4, and 3 more)" in warning


def test_identical_boxes_are_no_trouble_under_coco_nor_between_classes():
    assert check_protocol([sample([BOX, BOX], ["cat", "cat"])], NAMES, "coco") == ()
    assert check_protocol([sample([BOX, BOX], ["cat", "dog"])], NAMES, "voc") == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("bad", [[5, 5, 5, 20], [5, 5, math.nan, 20]])
def test_a_box_that_cannot_be_found_is_named(protocol, bad):
    samples = [sample([BOX, BOX], ["cat", "cat"]), sample([BOX, bad], ["dog", "cat"], "bad")]
    with pytest.raises(DataError, match=r"for cat: sample bad: object 2 \(cat\) has a box .*; mend or remove it"):
        check_protocol(samples, NAMES, protocol)


def test_an_area_beyond_every_range_is_named_under_coco():
    samples = [sample([BOX], ["cat"], area=[-3.0])]
    with pytest.raises(DataError, match=r"object 1 \(cat\) has an area of -3 square pixels"):
        check_protocol(samples, NAMES, "coco")
    assert check_protocol(samples, NAMES, "voc") == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_without_countable_truth_is_a_warning(protocol):
    samples = [sample([BOX, OTHER], NAMES, difficult=[True, False], crowd=[False, True])]
    (warning,) = check_protocol(samples, NAMES, protocol)
    assert warning.startswith("no picture holds an object that counts")
