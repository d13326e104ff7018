"""Box regression: all solvers against the closed form, and the folded result against R-CNN's steps one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from feature_scenes import filled_file, regions_in
from oracles import loop_iou

from rcnn.boxes import decode
from rcnn.errors import ConfigError
from rcnn.training import ridge_solvers
from rcnn.training.ridge import RidgeSettings, train_regressors, whitening
from rcnn.training.ridge_solvers import SOLVERS, Problem, choose_solver, conjugate_gradients, solve

NAMES = ("a", "b")
LIGHT = RidgeSettings(penalty=1.0)


def problem_of(rows, width, penalty=10.0, dtype=np.float64, block_bytes=1000, seed=0):
    """Some rows, not in order, of features that are correlated as a network's are."""
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(2 * rows, width)) @ rng.normal(size=(width, width))).astype(dtype)
    targets = torch.from_numpy(rng.normal(size=(rows, 4)))
    return Problem(features, rng.permutation(2 * rows)[:rows], 0.7, targets, penalty, block_bytes)


def closed_form(features, targets, penalty):
    """(A' A + penalty)^-1 A' targets with a last column of ones."""
    a = np.column_stack((np.asarray(features, np.float64), np.ones(len(features))))
    return np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ targets)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize(("rows", "width"), [(40, 7), (12, 50), (20, 19), (1, 5), (5, 1)])
def test_every_solver_finds_the_closed_form(solver, dtype, rows, width):
    problem = problem_of(rows, width, dtype=dtype)
    expected = closed_form(problem.features[problem.rows].astype(float) * 0.7, problem.targets.numpy(), 10.0)
    assert np.abs(SOLVERS[solver](problem).numpy() - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("block_bytes", [1, 300, 2**26])
def test_the_size_of_blocks_does_not_matter(solver, block_bytes):
    one, other = problem_of(9, 14), problem_of(9, 14, block_bytes=block_bytes)
    assert torch.allclose(SOLVERS[solver](one), SOLVERS[solver](other), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("block_bytes", [1, 300, 2**26])
def test_blocks_are_the_matrix(block_bytes):
    problem = problem_of(9, 14, block_bytes=block_bytes)
    whole = np.column_stack((problem.features[problem.rows] * 0.7, np.ones(9)))
    assert np.array_equal(torch.cat([block for _, block in problem.by_rows()]), whole)
    assert np.array_equal(torch.cat([block for _, block in problem.by_columns()], dim=1), whole)


@pytest.mark.parametrize("solver", SOLVERS)
def test_targets_that_are_all_zero_need_no_weights(solver):
    problem = problem_of(9, 14)
    problem.targets[:, 1:3] = 0
    found = SOLVERS[solver](problem)
    assert not found[:, 1:3].any()
    assert found[:, [0, 3]].any(dim=0).all()


def test_conjugate_gradients_that_do_not_end_are_told(caplog):
    conjugate_gradients(problem_of(40, 30, penalty=1e-9), iterations=2)
    assert caplog.messages == ["box regression: not converged in 2 steps of conjugate gradients"]


@pytest.mark.parametrize(
    ("rows", "columns", "memory", "solver"),
    [
        (100, 1000, 160_000, "dual"),
        (100, 1000, 159_999, "cg"),
        (1000, 100, 160_000, "primal"),
        (1000, 100, 159_999, "cg"),
        (100, 100, 160_000, "primal"),
        (3000, 64_001, RidgeSettings().memory, "dual"),
        (100_000, 4097, RidgeSettings().memory, "primal"),
        (30_000, 64_001, RidgeSettings().memory, "cg"),
    ],
)
def test_the_smaller_matrix_is_taken_if_it_fits(rows, columns, memory, solver, monkeypatch):
    assert choose_solver(rows, columns, memory) == solver
    monkeypatch.setattr(ridge_solvers, "SOLVERS", {solver: lambda problem: torch.ones(problem.columns, 4)})
    problem = Problem(np.empty((1, columns - 1), np.float16), np.zeros(rows, np.int64), 1.0, torch.zeros(rows, 4), 1.0)
    assert len(solve(problem, memory)) == columns


def test_whitened_targets_have_unit_covariance_and_come_back():
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)))
    centred = targets - targets.mean(0)
    white, back = whitening(centred, 1e-9)
    assert torch.allclose((centred @ white).T @ (centred @ white) / 500, torch.eye(4).double(), atol=1e-5)
    assert torch.allclose(white @ back, torch.eye(4).double(), atol=1e-9)
    assert torch.allclose(white, white.T)


def by_the_book(file, label, settings):
    """R-CNN's training and prediction of one class, step after step: the deltas of every pooled row."""
    pooled = file.all_pooled.astype(float)
    pooled = pooled * (20 / np.linalg.norm(pooled, axis=1).mean())
    chosen, deltas = [], []
    for picture in range(len(file)):
        regions = file.regions(picture)
        truth = np.flatnonzero(regions.truth)
        for place, row in enumerate(file.pooled_rows(picture), int(file.first_pooled[picture])):
            x1, y1, x2, y2 = box = regions.boxes[row].astype(float).tolist()
            overlaps = [loop_iou(box, regions.boxes[other].tolist()) for other in truth]
            best = truth[int(np.argmax(overlaps))]
            if max(overlaps) <= settings.minimum_iou or regions.truth[best] != label or regions.difficult[best]:
                continue
            a1, b1, a2, b2 = regions.boxes[best].astype(float).tolist()
            shift = ((a1 + a2 - x1 - x2) / 2 / (x2 - x1), (b1 + b2 - y1 - y2) / 2 / (y2 - y1))
            deltas.append((*shift, np.log((a2 - a1) / (x2 - x1)), np.log((b2 - b1) / (y2 - y1))))
            chosen.append(place)
    targets = np.array(deltas)
    mean = targets.mean(0)
    values, vectors = np.linalg.eigh((targets - mean).T @ (targets - mean) / len(targets))
    white = vectors @ np.diag(1 / np.sqrt(values + 0.001)) @ vectors.T
    beta = closed_form(pooled[chosen], (targets - mean) @ white, settings.penalty)
    return (pooled @ beta[:-1] + beta[-1]) @ np.linalg.inv(white) + mean


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("width", "memory"), [(7, 2**30), (60, 2**30), (60, 1)], ids=["primal", "dual", "cg"])
@pytest.mark.parametrize("settings", [RidgeSettings(), RidgeSettings(penalty=0.1, minimum_iou=0.75)])
def test_scale_whitening_and_mean_are_folded_in(tmp_path, width, memory, settings, dtype):
    pictures = [regions_in(20, (1, 2, 1), seed=seed, difficult=(2,) if seed == 1 else ()) for seed in range(4)]
    file = filled_file(tmp_path / "f", pictures, pooled_width=width, dtype=dtype)
    found = train_regressors(file, NAMES, replace(settings, memory=memory))
    assert (found.weight.shape, found.bias.shape) == ((2, 4, width), (2, 4))
    for label in (1, 2):
        deltas = file.all_pooled @ found.weight[label - 1].T.astype(float) + found.bias[label - 1]
        assert np.abs(deltas - by_the_book(file, label, settings)).max() < 1e-5


@pytest.mark.parametrize("memory", [2**30, 1])
def test_boxes_that_features_describe_are_mended(tmp_path, memory):
    pictures = [regions_in(0, (1,), classes=1, seed=seed, near=10) for seed in range(8)]
    file = filled_file(tmp_path / "f", pictures, pooled_width=4)
    before, after = [], []
    for picture, regions in enumerate(pictures):  # the features: how far each proposal is off, and noise
        proposals, truth = regions.boxes[file.pooled_rows(picture)], regions.boxes[-1]
        sides = np.tile(proposals[:, 2:] - proposals[:, :2], 2)
        file.write(picture, file.vectors(picture), (truth - proposals) / sides)
    found = train_regressors(file, ("a",), replace(LIGHT, memory=memory))
    for picture, regions in enumerate(pictures):
        proposals = torch.from_numpy(regions.boxes[file.pooled_rows(picture)])
        deltas = torch.from_numpy(file.pooled(picture) @ found.weight[0].T + found.bias[0])
        truth = regions.boxes[-1].tolist()
        before += [loop_iou(box, truth) for box in proposals.tolist()]
        after += [loop_iou(box, truth) for box in decode(deltas, proposals).tolist()]
    assert np.mean(before) < 0.9
    assert np.mean(after) > 0.97


def test_a_class_without_proposals_moves_no_box(tmp_path, caplog):
    file = filled_file(tmp_path / "f", [regions_in(0, (2,), classes=3), regions_in(9, (), classes=3)], pooled_width=6)
    found = train_regressors(file, ("a", "b", "c"))
    assert not found.weight[[0, 2]].any()
    assert not found.bias[[0, 2]].any()
    assert found.weight[1].any()
    assert [message.split(":")[0] for message in caplog.messages] == ["class a", "class c"]


def test_no_examples_at_all_give_zeros(tmp_path):
    found = train_regressors(filled_file(tmp_path / "f", [regions_in(9, ())], pooled_width=6), NAMES)
    assert not found.weight.any()
    assert not found.bias.any()


def test_one_example_is_enough(tmp_path):
    found = train_regressors(filled_file(tmp_path / "f", [regions_in(0, (1,), near=1)], pooled_width=6), NAMES)
    assert np.isfinite(found.weight).all()
    assert found.bias[0].any()


@pytest.mark.parametrize(("inclusive", "taught"), [(False, False), (True, True)])
def test_an_iou_of_exactly_the_bound_counts_where_said(tmp_path, inclusive, taught):
    boxes = np.array([[0, 0, 10, 5], [0, 0, 10, 10]], np.float32)
    overlaps = np.array([[0.5], [1]], np.float32)
    regions = replace(regions_in(0, (1,), 1, near=1), boxes=boxes, overlaps=overlaps)
    file = filled_file(tmp_path / "f", [regions], pooled_width=3)
    found = train_regressors(file, ("a",), RidgeSettings(minimum_iou=0.5, inclusive=inclusive))
    assert found.bias.any() == taught


@pytest.mark.parametrize("train_difficult", [False, True])
def test_difficult_objects_teach_only_if_asked(tmp_path, train_difficult):
    file = filled_file(tmp_path / "f", [regions_in(0, (1,), difficult=(0,))], pooled_width=3)
    found = train_regressors(file, NAMES, RidgeSettings(train_difficult=train_difficult))
    assert found.weight[0].any() == train_difficult


def test_a_file_that_lacks_the_proposals_is_refused(tmp_path):
    file = filled_file(tmp_path / "f", [regions_in()], pooled_width=3, pooled_iou=0.6)
    with pytest.raises(ConfigError, match=r"holds pooled features from IoU 0\.6 on, and box regression asks for 0\.5"):
        train_regressors(file, NAMES, RidgeSettings(minimum_iou=0.5))


def test_who_asks_hears_of_each_class(tmp_path):
    heard = []
    file = filled_file(tmp_path / "f", [regions_in()], pooled_width=3)
    train_regressors(file, NAMES, on_class=lambda *now: heard.append(now))
    assert heard == [(1, 2), (2, 2)]
