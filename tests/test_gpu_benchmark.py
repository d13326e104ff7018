"""benchmarks/gpu.py, as far as a machine without a GPU can tell: the work in which nothing may wait runs."""

from pathlib import Path

import pytest
import torch

from rcnn.bench.predict import MOBILE, Work
from rcnn.bench.train import learner

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    """The script on this machine's processor, with a small network, and a stand-in for the watch over waiting.

    Training is in single precision: processors without bf16 take a minute for what others do at once.
    """
    monkeypatch.syspath_prepend(FOLDER)
    script, ran = __import__("gpu"), []
    monkeypatch.setattr(script, "CUDA", torch.device("cpu"))
    monkeypatch.setattr(script, "SMALL", Work(MOBILE, (64, 96), batch=2))
    monkeypatch.setattr(script, "learner", lambda *given, bf16, **rest: learner(*given, bf16=False, **rest))
    monkeypatch.setattr(script, "refusal", lambda work: ran.append(work()) or None)
    return script, ran


def test_a_forward_pass_is_watched(gpu):
    script, ran = gpu
    assert script.checked(script.waits_in_prediction) == (True, "as it should be")
    assert ran[0].boxes.shape[0] == 1


def test_a_training_pass_is_watched(gpu):
    script, ran = gpu
    assert script.checked(script.waits_in_training) == (True, "as it should be")
    assert set(ran[0]) == {"rpn_score", "rpn_box", "score", "box"}
