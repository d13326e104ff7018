"""Detectron2's models: the same detections with the same weights, and files that may not run anything."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn import api
from rcnn.bench.detectron2 import C4, PYRAMID, detector_of
from rcnn.bench.detectron2_weights import random_c4_state, random_state, renamed
from rcnn.bench.pictures import photo
from rcnn.bench.predict import found, share_of, untrained
from rcnn.boxes import iou
from rcnn.cli import main
from rcnn.compat.detectron2 import CONFIGS, rename
from rcnn.compat.pickled import read_arrays
from rcnn.data.preprocess import Preprocess
from rcnn.errors import WeightsError
from rcnn.structures import Detections, Proposals

STORED = Path(__file__).with_name("detectron2_detections.json")
"""What detectron2 0.6 found, as benchmarks/detectron2_equality.py writes it down."""
PHOTOS, SIDES = ((120, 173), (151, 97)), (160, 267)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures():
    return [photo(*size, seed=seed) for seed, size in enumerate(PHOTOS)]


@pytest.fixture(scope="module")
def state(pictures):
    return random_state(20, pictures[0], SIDES)


def as_pickle(state, path):
    """As the model zoo's files are."""
    arrays = {name: value.numpy() for name, value in state.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a test"}, protocol=2))
    return path


def stored(name):
    """What detectron2 found in each picture."""
    tables = map(torch.tensor, json.loads(STORED.read_text("utf-8"))[name])
    return [Detections(rows[:, :4], rows[:, 4], rows[:, 5].long(), ()) for rows in tables]


def test_detectron2s_detections_are_found_here(pictures, state):
    detector = detector_of(PYRAMID, state, CPU, sides=SIDES)
    own = [one for picture in pictures for one in found(detector, [picture])]
    assert share_of(own, stored(PYRAMID), least=0.98, pixels=0.01, score=2e-4) >= 0.98


def test_detectron2s_detections_are_found_here_by_a_network_without_a_pyramid(pictures):
    """Its last stage would take a minute for all 800 regions: here it looks at those that the detections come from,
    and at some others. More would find the same, for a detection is suppressed by better ones alone.
    """
    detector = detector_of(C4, random_c4_state(20, pictures[0], SIDES), CPU, sides=SIDES)
    expected = stored(C4)[:1]
    scale = detector.preprocess.resized(pictures[0].shape[:2])[0] / len(pictures[0])

    def some(_, __, every):
        assert every.valid.sum() > 800
        kept = iou(every.boxes[0], expected[0].boxes * scale).amax(dim=1) > 0.9
        kept[::20] = True
        return Proposals(every.boxes[:, kept], every.scores[:, kept], every.valid[:, kept])

    detector.model.rpn.register_forward_hook(some)
    assert share_of(found(detector, pictures[:1]), expected, least=0.98, pixels=0.01, score=2e-4) >= 0.98


def test_a_file_of_the_model_zoo_is_read_by_name(tmp_path, state):
    detector = api.load(f"detectron2:{PYRAMID}", weights=as_pickle(state, tmp_path / "model_final.pkl"))
    assert detector.class_names[:2] == ("class 1", "class 2")
    torch.testing.assert_close(
        detector.model.head.cls_score.bias[0], state["roi_heads.box_predictor.cls_score.bias"][-1]
    )


def test_coco_models_know_coco_s_names_and_numbers(tmp_path):
    plain = renamed(untrained("fasterrcnn_resnet50_fpn", 80).state_dict())
    torch.save({"model": plain, "iteration": 1}, tmp_path / "model.pth")
    detector = api.load(f"detectron2:{PYRAMID}", weights=tmp_path / "model.pth")
    assert len(detector.class_names) == 80
    assert (detector.class_names[0], detector.category_ids["toothbrush"]) == ("person", 90)


def test_every_model_reads_regions_as_detectron2_does_and_only_its_own_weights_fit(state):
    assert all(config.model.head.aligned and config.model.head.sampling == 0 for config in CONFIGS.values())
    with pytest.raises(WeightsError, match="do not fit"):
        detector_of(C4, state, CPU)
    with pytest.raises(WeightsError, match=r"do not fit: .*layer3"):
        detector_of("COCO-Detection/faster_rcnn_R_101_FPN_3x", state, CPU)


def test_resizing_rounds_and_smooths_as_detectron2_does(pictures):
    preprocess = Preprocess(100, 1000, "exact", (0.0,) * 3, (1 / 255,) * 3, "pillow")
    size = preprocess.resized((120, 173))
    assert size == (100, 144)  # 144.17
    assert preprocess.resized((151, 97)) == (156, 100)  # 155.67
    assert preprocess.canvas(size) == size
    images = preprocess.lay_out(pictures[:1], [size], size, 1).images
    expected = torch.from_numpy(np.array(Image.fromarray(pictures[0]).resize((144, 100), Image.Resampling.BILINEAR)))
    torch.testing.assert_close(images[0].permute(1, 2, 0), expected.float(), rtol=0, atol=1e-4)
    raw = preprocess.pack(pictures[:1], [size], size, 1).on(CPU)
    torch.testing.assert_close(raw.images, images, rtol=0, atol=1e-4)


def test_weights_of_other_anchors_are_refused_in_one_line(state):
    other = {name: value for name, value in state.items() if not name.startswith("roi_heads.box_head")}
    with pytest.raises(WeightsError, match="3 anchors a cell, not the zoo's 15"):
        rename(other)


class Harmful:
    """Its pickle makes a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def refused(tmp_path, content):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_arrays(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path):
    touched = tmp_path / "touched"
    weights = {"model": {"a": np.zeros(3), "b": Harmful(touched)}}
    assert "only arrays are admitted" in refused(tmp_path, pickle.dumps(weights))
    assert not touched.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"model": {"a": np.zeros(3)}})[:-20],
        pickle.dumps([1, 2]),
        pickle.dumps({"model": {"a": "text"}}),
        pickle.dumps({"a": np.array([{}, []], dtype=object)}),
    ],
    ids=["empty", "text", "truncated", "a list", "no arrays", "objects"],
)
def test_a_file_that_holds_no_arrays_is_refused_in_one_line(tmp_path, content):
    assert str(tmp_path / "model.pkl") in refused(tmp_path, content)


def test_arrays_of_python_2_are_read(tmp_path):
    path = tmp_path / "old.pkl"
    path.write_bytes(
        pickle.dumps({"a": np.arange(6.0).reshape(2, 3)}, protocol=2).replace(b"numpy._core", b"numpy.core")
    )
    assert read_arrays(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        (PYRAMID, None, "--weights FILE"),
        ("COCO-Detection/faster_rcnn_X", "x.pkl", "choose among"),
        (PYRAMID, "no such.pkl", "no such file"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(name, weights, said, tmp_path, capsys):
    (tmp_path / "a.jpg").touch()
    options = ["--weights", weights] if weights else []
    status = main(["predict", f"detectron2:{name}", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out"), *options])
    error = capsys.readouterr().err
    assert status == 2
    assert said in error
    assert error.count("\n") == 1


def test_names_and_orders_of_both_libraries_are_inverse(state):
    own = rename(state)
    assert own["backbone.body.layer2.0.bn1.running_var"] is state["backbone.bottom_up.res3.0.conv1.norm.running_var"]
    assert torch.equal(own["backbone.body.conv1.weight"], state["backbone.bottom_up.stem.conv1.weight"].flip(1))
    assert not own["head.bbox_pred.bias"][:4].any()
