"""Stage blame: in a Faster R-CNN whose tensors are set by hand, each cause is planted and found."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from scenes import sample
from torch import nn

from rcnn.analysis import CAUSES, blame_missed
from rcnn.anchors import AnchorGrid
from rcnn.errors import DataError
from rcnn.heads.box_head import SVMHead
from rcnn.methods import FasterRCNN, FastRCNN
from rcnn.methods.stages import stages
from rcnn.postprocess import Postprocess
from rcnn.proposals.rpn import RPN, ProposalLimits
from rcnn.structures import Batch, Proposals

NAMES = ("cat", "dog")
CELLS, STRIDE, SIDE = 6, 16, 32
CAT = (32, 32, 64, 64)
"""Where an anchor is: no other overlaps it by half."""
ELSEWHERE = (0, 0, 32, 32)
"""Another anchor."""


def shifted(box, dx):
    return (box[0] + dx, box[1], box[2] + dx, box[3])


@dataclass
class Plant:
    """What the RPN and the head say; all else is quiet: proposals everywhere, and nothing in any of them."""

    objectness: dict = field(default_factory=dict)  # anchor -> logit
    moves: dict = field(default_factory=dict)  # anchor -> by so many pixels to the right
    scores: dict = field(default_factory=dict)  # proposal -> (cat, dog)
    refines: dict = field(default_factory=dict)  # proposal -> by so many pixels to the right


class Scripted(nn.Module):
    """A Faster R-CNN's parts with given answers."""

    def __init__(self, plant):
        super().__init__()
        self.plant = plant

    def forward(self, images):
        return [torch.zeros(len(images), 1, CELLS, CELLS)]


class ScriptedRPN(Scripted):
    def forward(self, features):
        logits, deltas = torch.full((1, CELLS**2), -1.0), torch.zeros(1, CELLS**2, 4)
        for box, logit in self.plant.objectness.items():
            logits[0, self.anchor(box)] = logit
        for box, dx in self.plant.moves.items():
            deltas[0, self.anchor(box), 0] = dx / SIDE
        return logits, deltas

    @staticmethod
    def anchor(box):
        x, y = (int(box[i] + box[i + 2]) // 2 // STRIDE for i in (0, 1))
        return y * CELLS + x


class ScriptedHead(Scripted):
    def predict(self, boxes):
        scores, deltas = torch.full((len(boxes), 2), 0.01), torch.zeros(len(boxes), 2, 4)
        for row, box in enumerate(boxes):
            for told, pair in self.plant.scores.items():
                if torch.allclose(box, torch.tensor(told).float(), atol=0.5):
                    scores[row] = torch.tensor(pair)
            for told, dx in self.plant.refines.items():
                if torch.allclose(box, torch.tensor(told).float(), atol=0.5):
                    deltas[row, :, 0] = dx / (box[2] - box[0])
        return scores, deltas


def regions_of(features, boxes):
    return boxes.flatten(0, 1)


def faster_rcnn(plant, limits=None, **post):
    rpn = RPN(ScriptedRPN(plant), AnchorGrid([[SIDE]], [1.0]))
    return FasterRCNN(Scripted(plant), rpn, regions_of, ScriptedHead(plant), limits or LIMITS, Postprocess(**post))


def batch_of(proposals=None):
    side = torch.tensor([[CELLS * STRIDE] * 2])
    return Batch(torch.zeros(1, 3, CELLS * STRIDE, CELLS * STRIDE), side, side, torch.ones(1), proposals)


def blame(model, boxes=(CAT,), names=("cat",), score=0.0, batch=None):
    picture = sample(boxes, names)
    return blame_missed([picture], [stages(model, batch or batch_of())], NAMES, score)


def outside(*boxes):
    boxes = torch.tensor([boxes]).float()
    return batch_of(Proposals(boxes, torch.ones(boxes.shape[:2]), torch.ones(boxes.shape[:2], dtype=torch.bool)))


SEEN = {CAT: (0.9, 0.05)}
LIMITS = ProposalLimits(before=40, after=40)
LEFT = (16, 32, 48, 64)
"""The anchor beside the cat's."""
RIGHT, WORSE = shifted(CAT, 6), shifted(CAT, 12)
"""IoU with the cat 0.68 and 0.45, with each other 0.68."""
RIVAL = {CAT: RIGHT[0] - CAT[0], LEFT: WORSE[0] - LEFT[0]}
"""Moves after which one proposal lies on the cat and the other beside it."""
PLANTS = {
    "no anchor": (Plant(), {"boxes": [(0, 0, 8, 8)]}),
    "anchor moved off": (Plant(moves={CAT: 16}), {}),
    "low objectness": (Plant(objectness={CAT: -9}), {"limits": replace(LIMITS, before=20)}),
    "proposal too small": (Plant(), {"limits": replace(LIMITS, side=33.0)}),
    "proposal suppressed": (Plant(moves=RIVAL, objectness={LEFT: 3}), {"limits": replace(LIMITS, nms=0.6)}),
    "proposal cut": (Plant(objectness={ELSEWHERE: 3}), {"limits": replace(LIMITS, after=1)}),
    "misclassified": (Plant(scores={CAT: (0.02, 0.9)}), {}),
    "bad box": (Plant(scores=SEEN, refines={CAT: 16}), {}),
    "under threshold": (Plant(scores={CAT: (0.4, 0.3)}), {"score": 0.5}),
    "suppressed": (Plant(moves=RIVAL, objectness={LEFT: 3}, scores={RIGHT: (0.8, 0.0), WORSE: (0.9, 0.0)}), {}),
    "cut": (Plant(scores=SEEN | {ELSEWHERE: (0.0, 0.95)}), {"detections": 1}),
    "claimed": (Plant(scores=SEEN), {"boxes": [CAT, shifted(CAT, 6)]}),
}


def blame_of(cause, **changes):
    plant, given = PLANTS[cause]
    given = {"boxes": [CAT], "score": 0.0, "limits": LIMITS} | given | changes
    boxes, score = given.pop("boxes"), given.pop("score")
    return blame(faster_rcnn(plant, **given), boxes, ["cat"] * len(boxes), score)


def test_an_object_that_is_found_is_blamed_on_nothing():
    result = blame(faster_rcnn(Plant(scores=SEEN)))
    assert (result.objects, result.missed) == (1, ())
    assert set(result.counts.values()) == {0}


@pytest.mark.parametrize("cause", PLANTS)
def test_a_planted_cause_is_found(cause):
    result = blame_of(cause)
    (missed,) = result.missed
    assert missed.cause == cause
    assert result.counts == {other: int(other == cause) for other in CAUSES if other != "not proposed"}
    assert missed.name == "cat"


def test_every_cause_is_planted():
    assert set(PLANTS) | {"not proposed"} == set(CAUSES)


@pytest.mark.parametrize(
    ("cause", "box", "iou"),
    [
        ("no anchor", (-16, -16, 16, 16), 1 / 16),
        ("anchor moved off", (48, 32, 80, 64), 1 / 3),
        ("low objectness", CAT, 1),
        ("proposal too small", CAT, 1),
        ("proposal suppressed", RIGHT, 26 / 38),
        ("proposal cut", CAT, 1),
        ("misclassified", CAT, 1),
        ("bad box", shifted(CAT, 16), 1 / 3),
        ("suppressed", RIGHT, 26 / 38),
    ],
)
def test_the_box_that_came_furthest_is_shown(cause, box, iou):
    (missed,) = blame_of(cause).missed
    assert missed.box == pytest.approx(box, abs=1e-4)
    assert missed.iou == pytest.approx(iou, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "instead"), [((0.02, 0.9), "dog"), ((0.02, 0.03), "background"), ((0.04, 0.4), "background")]
)
def test_what_an_object_was_taken_for_is_named(scores, instead):
    (missed,) = blame(faster_rcnn(Plant(scores={CAT: scores}))).missed
    assert (missed.cause, missed.instead) == ("misclassified", instead)
    assert missed.score == pytest.approx(scores[0])


def test_a_support_vector_machine_takes_for_background_what_lies_on_its_other_side():
    model = faster_rcnn(Plant(scores={CAT: (0.45, 0.4)}), score=0.5)
    model.head.__class__ = type("ScriptedSVM", (ScriptedHead, SVMHead), {})
    (missed,) = blame(model).missed
    assert (missed.cause, missed.instead) == ("misclassified", "background")


def test_candidates_beyond_their_cap_are_cut_too():
    plant = Plant(scores=SEEN | {ELSEWHERE: (0.0, 0.95)})
    (missed,) = blame(faster_rcnn(plant, candidates=1)).missed
    assert missed.cause == "cut"


def test_a_region_beside_the_object_that_is_refined_onto_it_counts_as_on_it():
    right = Plant(moves={CAT: 16}, scores={shifted(CAT, 16): (0.9, 0.0)}, refines={shifted(CAT, 16): -16})
    assert blame(faster_rcnn(right)).missed == ()
    wrong = replace(right, scores={shifted(CAT, 16): (0.0, 0.9)})
    assert blame(faster_rcnn(wrong)).missed[0].cause == "misclassified"


def test_a_higher_threshold_turns_a_find_into_a_miss_and_says_why():
    model = faster_rcnn(Plant(scores={CAT: (0.6, 0.1)}))
    assert blame(model, score=0.6).missed == ()
    assert blame(model, score=0.7).missed[0].cause == "under threshold"


def test_regions_from_outside_are_blamed_for_what_they_do_not_cover():
    model = FastRCNN(Scripted(Plant()), regions_of, ScriptedHead(Plant(scores=SEEN)), Postprocess())
    assert blame(model, batch=outside(CAT, ELSEWHERE)).missed == ()
    result = blame(model, batch=outside(shifted(CAT, 20), ELSEWHERE))
    (missed,) = result.missed
    assert (missed.cause, missed.box) == ("not proposed", shifted(CAT, 20))
    assert "no anchor" not in result.counts
    assert blame(model, batch=outside(ELSEWHERE)).missed[0].box is None


def test_difficult_objects_and_crowds_are_not_missed():
    flags = {"difficult": np.array([True, False]), "crowd": np.array([False, True])}
    picture = sample([CAT, ELSEWHERE], ["cat", "cat"], **flags)
    result = blame_missed([picture], [stages(faster_rcnn(Plant()), batch_of())], NAMES)
    assert (result.objects, result.missed) == (0, ())


def test_the_blame_of_many_pictures_adds_up():
    pictures, seen = [], []
    for number, (plant, changes) in enumerate(PLANTS.values()):
        given = {name: value for name, value in changes.items() if name != "score"}
        boxes = given.pop("boxes", [CAT])
        pictures.append(sample(boxes, ["cat"] * len(boxes), f"p{number}"))
        seen.append(stages(faster_rcnn(plant, **given), batch_of()))
    result = blame_missed(pictures, iter(seen), NAMES, 0.5)
    assert result.objects == len(PLANTS) + 1
    assert set(result.counts.values()) == {1}
    assert [missed.sample_id for missed in result.missed] == [f"p{number}" for number in range(len(PLANTS))]
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["missed"] == sum(written["counts"].values()) == len(PLANTS)
    assert result.of("cut")[0].picture == list(PLANTS).index("cut")


def test_boxes_are_compared_in_pixels_of_the_original_picture():
    batch = replace(batch_of(), original_sizes=torch.tensor([[CELLS * STRIDE * 2] * 2]))
    double = tuple(2 * side for side in CAT)
    assert blame(faster_rcnn(Plant(scores=SEEN)), [double], batch=batch).missed == ()
    (missed,) = blame(faster_rcnn(Plant(scores={CAT: (0.0, 0.9)})), [double], batch=batch).missed
    assert (missed.cause, missed.box) == ("misclassified", double)


def test_samples_without_stages_are_refused():
    with pytest.raises(DataError, match="2 samples, but stages of 1"):
        blame_missed([sample([], [])] * 2, [stages(faster_rcnn(Plant()), batch_of())], NAMES)
    with pytest.raises(DataError, match="0 samples, but stages of more"):
        blame_missed([], [stages(faster_rcnn(Plant()), batch_of())], NAMES)
