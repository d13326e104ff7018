"""From a graph to a program of torch.export, whose batch and canvas are any."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from rcnn.export.graph import Graph

MOST_PICTURES, MOST_STEPS = 256, 256
"""Of a batch, and of the canvas's side in steps of `DynamicShapes.step`: bounds that torch.export wants to know."""


@dataclass(frozen=True)
class DynamicShapes:
    """What may vary: `batch` pictures (None: any number), on canvases whose sides are multiples of `step`."""

    batch: int | None = None
    step: int = 32


def export_program(graph: Graph, example: Mapping[str, Tensor], free: DynamicShapes) -> ExportedProgram:
    """The program of a graph, traced on example inputs by their names; of two pictures where the batch is any."""
    shapes = {name: _dynamic(name, graph, free) for name in example}
    with torch.no_grad():
        return torch.export.export(graph, (), dict(example), dynamic_shapes=shapes, strict=False)


def _dynamic(name: str, graph: Graph, free: DynamicShapes) -> dict[int, object]:
    """The axes of an input that vary, by number."""
    batch: dict[int, object] = {} if free.batch else {0: Dim("batch", min=1, max=MOST_PICTURES)}
    if name == "images":
        sides = {"height": 2, "width": 3} if graph.normalised else {"height": 1, "width": 2}
        return batch | {axis: _side(side, free.step) for side, axis in sides.items()}
    if name in ("proposals", "proposals_valid"):
        return batch | {1: Dim("regions", min=2, max=graph.regions)}
    return batch


def _side(name: str, step: int) -> object:
    steps = Dim(name, min=1, max=MOST_STEPS * 32 // step)
    return steps if step == 1 else step * steps
