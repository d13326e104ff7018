"""SVMs with hard-negative mining, against one trained on every negative at once."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from feature_scenes import filled_file, regions_in
from oracles import loop_iou
from sklearn.svm import LinearSVC

from rcnn.training import svm
from rcnn.training.svm import LinearSVMs, SVMSettings, train_svms

NAMES = ("a", "b")
SEES_ALL = SVMSettings(hard=-1e9, evict=-1e9)
HARSH = SVMSettings(c=0.1)  # so small a data set needs a larger C before mining leaves anything out


def pictures(count=6, **options):
    return [regions_in(30, (1, 2), seed=seed, **options) for seed in range(count)]


def examples(file, label, settings, allowed=lambda regions: regions.truth == 0):
    """All positives and all negatives of a class, scaled: vectors and signs."""
    scale = 20 / np.linalg.norm(file.all_vectors.astype(float), axis=1).mean()
    positives, negatives = [], []
    for picture in range(len(file)):
        regions, vectors = file.regions(picture), file.vectors(picture).astype(float) * scale
        positives.append(vectors[(regions.truth == label) & (settings.train_difficult | ~regions.difficult)])
        negatives.append(vectors[allowed(regions) & (regions.overlaps[:, label - 1] < settings.negative_iou)])
    signs = np.repeat([1.0, -1.0], [sum(map(len, positives)), sum(map(len, negatives))])
    return np.concatenate(positives + negatives), signs, scale


def objective(weight, bias, vectors, signs, settings):
    """What the SVM minimises, R-CNN's formula."""
    errors = np.maximum(0, 1 - signs * (vectors @ weight + bias))
    cost = settings.c * (np.where(signs > 0, settings.positive_weight, 1.0) * errors).sum()
    return cost + 0.5 * weight @ weight + 0.5 * (bias / settings.bias_feature) ** 2


def smallest_objective(vectors, signs, settings):
    """By liblinear on all examples at once, the bias feature written out as a column."""
    wide = np.column_stack((vectors, np.full(len(vectors), settings.bias_feature)))
    machine = LinearSVC(
        loss="hinge", C=settings.c, class_weight={1: 2}, fit_intercept=False, tol=1e-8, max_iter=10**6, random_state=1
    ).fit(wide, signs)
    weight = machine.coef_[0]
    return objective(weight[:-1], weight[-1] * settings.bias_feature, vectors, signs, settings)


def value_of(found, file, label, settings):
    vectors, signs, scale = examples(file, label, settings)
    value = objective(found.weight[label - 1] / scale, found.bias[label - 1], vectors, signs, settings)
    return value, smallest_objective(vectors, signs, settings)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("c", [0.001, 0.1])
def test_with_every_negative_in_view_the_minimum_is_found(tmp_path, dtype, c):
    file = filled_file(tmp_path / "f", pictures(), dtype=dtype)
    settings = replace(SEES_ALL, c=c)
    found = train_svms(file, NAMES, settings)
    assert (found.weight.shape, found.bias.shape) == ((2, 12), (2,))
    for label in (1, 2):
        value, smallest = value_of(found, file, label, settings)
        assert value == pytest.approx(smallest, rel=1e-3)


@pytest.mark.parametrize("retrain", [2000, 10])
def test_mining_comes_near_the_minimum_with_fewer_negatives(tmp_path, retrain, monkeypatch):
    file = filled_file(tmp_path / "f", pictures(12))
    settings, sizes = replace(HARSH, retrain=retrain), []
    fit = svm._fit
    monkeypatch.setattr(svm, "_fit", lambda vectors, *rest: sizes.append(len(vectors)) or fit(vectors, *rest))
    found = train_svms(file, NAMES, settings)
    for label in (1, 2):
        value, smallest = value_of(found, file, label, settings)
        assert smallest * 0.999 < value < smallest * 1.05
    assert max(sizes) < 0.8 * len(examples(file, 1, settings)[1])


class Recorder:
    """Stands in for liblinear: a given machine, and the rows of the features that it was shown."""

    def __init__(self, file, weight, bias, scale):
        self.row_of = {tuple(row): index for index, row in enumerate(file.all_vectors.astype(float) * scale)}
        self.weight, self.bias, self.shown = np.array(weight), bias, []

    def __call__(self, vectors, positives, name, settings):
        rows = [self.row_of[tuple(row)] for row in vectors]
        self.shown.append((name, rows[:positives], rows[positives:]))
        return self.weight, self.bias


@pytest.fixture
def mined(tmp_path, monkeypatch):
    """Runs mining of class `a` with a fixed machine; returns the file and what each training was shown."""

    def run(regions, settings, weight=(1.0, 0.0), bias=-1.5):
        file = filled_file(tmp_path / "f", regions, width=2)
        scale = svm.scale_to_norm(file.vectors, len(file), settings.mean_norm)
        recorder = Recorder(file, weight, bias, scale)
        monkeypatch.setattr(svm, "_fit", recorder)
        train_svms(file, NAMES, settings)
        scores = file.all_vectors @ (np.array(weight) * scale) + bias
        return file, scores, [rest for name, *rest in recorder.shown if name == "a"]

    return run


def negatives_of(file, picture, settings, label=1):
    regions = file.regions(picture)
    rows = np.flatnonzero((regions.truth == 0) & (regions.overlaps[:, label - 1] < settings.negative_iou))
    return (rows + file.first_row[picture]).tolist()


def test_mining_keeps_its_constants(mined):
    settings = SVMSettings(retrain=30)
    file, scores, shown = mined(pictures(8), settings)
    assert shown[0][1] == negatives_of(file, 0, settings), "it begins with all of the first picture"
    kept, added, expected = [row for row in shown[0][1] if scores[row] >= -1.2], [], []
    for picture in range(1, 8):
        added += [row for row in negatives_of(file, picture, settings) if scores[row] > -1.0001]
        if len(added) > 30 or picture == 7:
            expected.append(kept + added)
            kept, added = [row for row in kept + added if scores[row] >= -1.2], []
    assert [negatives for _, negatives in shown[1:]] == expected
    assert len(expected) > 1
    assert len(shown[0][1]) > sum(scores[row] >= -1.2 for row in shown[0][1]) > 0, "something was evicted"


def test_only_true_boxes_are_positives_and_only_far_proposals_negatives(mined):
    file, _, shown = mined(pictures(4), SEES_ALL)
    truth = np.concatenate([file.regions(picture).truth for picture in range(4)])
    overlaps = np.concatenate([file.regions(picture).overlaps for picture in range(4)])
    for positives, negatives in shown:
        assert positives == np.flatnonzero(truth == 1).tolist()
        assert (overlaps[negatives, 0] < 0.3).all()
        assert not truth[negatives].any()
    assert (overlaps[shown[-1][1], 1] > 0.7).any(), "a proposal on another class is a negative"
    assert shown[-1][1] == [row for picture in range(4) for row in negatives_of(file, picture, SEES_ALL)]


@pytest.mark.parametrize("train_difficult", [False, True])
def test_a_difficult_object_is_positive_only_if_asked_and_never_background(mined, train_difficult):
    regions = pictures(3, difficult=(0,))[:1] + pictures(3)[1:]
    _, _, shown = mined(regions, replace(SEES_ALL, train_difficult=train_difficult))
    first = len(regions[0]) - 2
    assert (first in shown[-1][0]) == train_difficult
    assert (regions[0].overlaps[[row for row in shown[-1][1] if row < first], 0] < 0.3).all()


def test_of_negatives_that_overlap_each_other_the_hardest_counts(mined):
    settings = SVMSettings(duplicate_iou=0.5)
    file, scores, shown = mined([regions_in(80, (1,), seed=seed) for seed in range(3)], settings)
    scores = np.where(np.arange(len(scores)) < file.first_row[1], 0, scores)  # the first picture has no machine yet
    expected = []
    for picture in range(3):
        rows = negatives_of(file, picture, settings)
        boxes = dict(
            zip(rows, file.regions(picture).boxes[np.array(rows) - file.first_row[picture]].tolist(), strict=True)
        )
        kept = []
        for row in sorted(rows, key=lambda row: -scores[row]):
            if scores[row] > -1.0001 and all(loop_iou(boxes[row], boxes[other]) <= 0.5 for other in kept):
                kept.append(row)
        assert len(kept) < len(rows)
        expected.append(sorted(kept))
    assert shown[0][1] == expected[0]
    assert set(expected[1] + expected[2]) <= set(shown[1][1])
    assert set(shown[1][1]) <= {row for rows in expected for row in rows}


@pytest.mark.parametrize("settings", [SVMSettings(), replace(SVMSettings(), duplicate_iou=0.7)])
def test_pictures_that_have_nothing_are_passed_over(tmp_path, settings):
    empty, bare = regions_in(0, (), near=0), regions_in(0, (1, 2), near=0)
    alone = train_svms(filled_file(tmp_path / "a", [bare, *pictures(3)]), NAMES, settings)
    mixed = train_svms(filled_file(tmp_path / "b", [bare, *pictures(3), empty]), NAMES, settings)
    assert alone.weight.any(axis=1).all()
    assert np.array_equal(alone.weight, mixed.weight)


def test_a_class_that_cannot_be_learned_finds_nothing_and_is_named(tmp_path, caplog):
    regions = [regions_in(20, (2,), classes=3, seed=seed) for seed in range(3)]
    file = filled_file(tmp_path / "f", regions)
    found = train_svms(file, ("a", "b", "c"))
    assert (found.scores(file.all_vectors)[:, [0, 2]] == -1).all()
    assert found.weight[1].any()
    assert "class a: no true box to train its SVM with" in caplog.text
    assert "class c: no true box" in caplog.text
    caplog.clear()
    train_svms(filled_file(tmp_path / "g", [regions_in(0, (1,), near=0, classes=1)]), ("a",))
    assert "class a: no negative proposal to train its SVM with" in caplog.text


def test_one_class_is_enough(tmp_path):
    file = filled_file(tmp_path / "f", [regions_in(20, (1,), classes=1, seed=seed) for seed in range(4)])
    found = train_svms(file, ("a",), HARSH)
    truth = np.concatenate([file.regions(picture).truth for picture in range(4)])
    scores = found.scores(file.all_vectors)
    assert scores.shape == (len(truth), 1)
    assert scores[truth == 1].mean() > scores[truth == 0].mean() + 0.5


def test_scores_are_of_vectors_as_the_network_gives_them():
    found = LinearSVMs(np.array([[1.0, 2.0], [0.0, 1.0]], np.float32), np.array([0.5, -1], np.float32))
    assert found.scores(np.array([[2, 3]], np.float16)).tolist() == [[8.5, 2.0]]


def test_the_same_file_gives_bitwise_the_same_machines(tmp_path):
    file = filled_file(tmp_path / "f", pictures())
    one, other = train_svms(file, NAMES, HARSH), train_svms(file, NAMES, HARSH)
    assert np.array_equal(one.weight, other.weight)
    assert np.array_equal(one.bias, other.bias)


def test_too_few_iterations_are_one_line_of_the_log(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train_svms(filled_file(tmp_path / "f", pictures(1)), NAMES, SVMSettings(iterations=1, tolerance=1e-12))
    assert [record.getMessage() for record in caplog.records] == [
        f"class {name}: its SVM has not converged in 1 iterations" for name in NAMES
    ]


def test_who_asks_hears_of_each_picture(tmp_path):
    heard = []
    train_svms(filled_file(tmp_path / "f", pictures(3)), NAMES, on_picture=lambda *now: heard.append(now))
    assert heard == [(1, 3), (2, 3), (3, 3)]
