"""Three ways to solve ridge regression on features that lie on the disk, for wide features and for many rows."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_log = logging.getLogger(__name__)

Solver = Literal["primal", "dual", "cg"]


@dataclass(frozen=True)
class Problem:
    """Minimise |A b - targets|^2 + penalty |b|^2, where A is scaled features and, last, a column of ones.

    A has n rows and F = E + 1 columns in float64 and is never held as a whole: it is read from the disk in blocks.
    """

    features: Float[np.ndarray, "N E"]
    rows: Int[np.ndarray, "n"]
    scale: float
    targets: Float[Tensor, "n 4"]
    penalty: float
    block_bytes: int = 2**26

    @property
    def columns(self) -> int:
        """F, which is E + 1."""
        return self.features.shape[1] + 1

    def by_rows(self) -> Iterator[tuple[slice, Float[Tensor, "b F"]]]:
        """Some whole rows of A at a time."""
        step = max(1, self.block_bytes // (8 * self.columns))
        for start in range(0, len(self.rows), step):
            place = slice(start, start + step)
            block = np.ones((len(self.rows[place]), self.columns))
            np.multiply(self.features[self.rows[place]], self.scale, out=block[:, :-1], dtype=np.float64)
            yield place, torch.from_numpy(block)

    def by_columns(self) -> Iterator[tuple[slice, Float[Tensor, "n b"]]]:
        """Some whole columns of A at a time."""
        step = max(1, self.block_bytes // (8 * len(self.rows)))
        for start in range(0, self.columns - 1, step):
            place = slice(start, min(start + step, self.columns - 1))
            yield place, torch.from_numpy(self.features[self.rows, place].astype(np.float64) * self.scale)
        yield slice(self.columns - 1, self.columns), torch.ones(len(self.rows), 1, dtype=torch.float64)


def choose_solver(rows: int, columns: int, memory: int) -> Solver:
    """The smaller of the two symmetric matrices, [n, n] or [E + 1, E + 1], if it and its factor fit in memory."""
    if 2 * 8 * min(rows, columns) ** 2 > memory:
        return "cg"
    return "dual" if rows < columns else "primal"


def solve(problem: Problem, memory: int) -> Float[Tensor, "F 4"]:
    """The minimum of a problem; the solvers find the same at different costs."""
    return SOLVERS[choose_solver(len(problem.rows), problem.columns, memory)](problem)


def primal(problem: Problem) -> Float[Tensor, "F 4"]:
    """(A' A + penalty) b = A' targets."""
    gram = torch.zeros(problem.columns, problem.columns, dtype=torch.float64)
    right = torch.zeros(problem.columns, 4, dtype=torch.float64)
    for place, block in problem.by_rows():
        gram.addmm_(block.T, block)
        right.addmm_(block.T, problem.targets[place])
    gram.diagonal().add_(problem.penalty)
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram))


def dual(problem: Problem) -> Float[Tensor, "F 4"]:
    """(A A' + penalty) a = targets; b = A' a."""
    kernel = torch.zeros(len(problem.rows), len(problem.rows), dtype=torch.float64)
    for _, block in problem.by_columns():
        kernel.addmm_(block, block.T)
    kernel.diagonal().add_(problem.penalty)
    weights = torch.cholesky_solve(problem.targets, torch.linalg.cholesky(kernel))
    return torch.cat([block.T @ weights for _, block in problem.by_columns()])


def conjugate_gradients(problem: Problem, tolerance: float = 1e-7, iterations: int = 2000) -> Float[Tensor, "F 4"]:
    """The primal equations without their matrix: each step reads A once. All four targets step at the same time.

    Ends when the residual has fallen to `tolerance` of the right-hand side.
    """
    found = torch.zeros(problem.columns, 4, dtype=torch.float64)
    residual = sum((block.T @ problem.targets[place] for place, block in problem.by_rows()), found.clone())
    direction, size = residual.clone(), residual.square().sum(0)
    enough = size * tolerance**2
    for _ in range(iterations):
        if (size <= enough).all():
            return found
        image = problem.penalty * direction
        for _, block in problem.by_rows():
            image.addmm_(block.T, block @ direction)
        step = _ratio(size, (direction * image).sum(0))
        found += step * direction
        residual -= step * image
        new = residual.square().sum(0)
        direction = residual + _ratio(new, size) * direction
        size = new
    _log.warning("box regression: not converged in %d steps of conjugate gradients", iterations)
    return found


def _ratio(over: Float[Tensor, "4"], under: Float[Tensor, "4"]) -> Float[Tensor, "4"]:
    """A quotient that is 0 for a target that is solved exactly."""
    return torch.where(under > 0, over / torch.where(under > 0, under, 1), 0)


SOLVERS = {"primal": primal, "dual": dual, "cg": conjugate_gradients}
