"""The pieces of a comparison: each has a name, what must be finished before it, and a function that makes it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rcnn import build
from rcnn.api.compare.bench import Adapt, Bench, unchanged
from rcnn.api.compare.plan import SEARCHING, Plan, Recipe
from rcnn.api.compare.record import AnyResult


@dataclass(frozen=True)
class Piece:
    """A part of the work that is kept once it is finished."""

    name: str
    needs: tuple[str, ...]
    """Names of pieces."""
    make: Callable[[Bench], AnyResult]
    run: str | None = None
    """The name of the run that it trains."""


def method_pieces(plan: Plan) -> list[Piece]:
    """What every comparison consists of: proposals, then each method trained and measured."""
    runs = [piece for method in plan.methods for piece in run_pieces(plan.base(method))]
    searched = any(method in SEARCHING for method in plan.methods)
    return [*([Piece("search", (), Bench.search)] if searched else []), *runs]


def run_pieces(recipe: Recipe) -> list[Piece]:
    """A run, trained and measured as it is, with its times."""
    return [train_piece(recipe), measure_piece(recipe.name, recipe, timed=True)]


def train_piece(recipe: Recipe) -> Piece:
    """A run. Raises ConfigError for settings that it could not be trained with: now, not after hours."""
    build.refuse(recipe.config)
    needs = ("search",) if recipe.method in SEARCHING else ()
    return Piece(f"train {recipe.name}", needs, lambda bench: bench.train(recipe), recipe.name)


def measure_piece(
    name: str, recipe: Recipe, adapt: Adapt = unchanged, timed: bool = False, also: Sequence[str] = ()
) -> Piece:
    """A run's detector, made by `adapt` to do something else, on the split; `also`: other runs that this takes."""
    needs = (f"train {recipe.name}", *(f"train {other}" for other in also))
    return Piece(f"measure {name}", needs, lambda bench: bench.measure(recipe, adapt, timed))


def recall_piece(source: str, recipe: Recipe, numbers: Sequence[int], adapt: Adapt, also: Sequence[str] = ()) -> Piece:
    """What the regions cover that `adapt` gives to a run's detector."""
    needs = (f"train {recipe.name}", *(f"train {other}" for other in also))
    return Piece(f"recall {source}", needs, lambda bench: bench.recall(recipe, adapt, numbers))


def in_order(pieces: Iterable[Piece]) -> list[Piece]:
    """Each piece once, after all that it needs. Raises KeyError where that is not among them."""
    known = {piece.name: piece for piece in pieces}
    ordered: dict[str, Piece] = {}

    def put(piece: Piece) -> None:
        for name in piece.needs:
            put(known[name])
        ordered.setdefault(piece.name, piece)

    for piece in known.values():
        put(piece)
    return list(ordered.values())
