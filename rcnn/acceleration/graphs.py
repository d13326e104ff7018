"""Work of fixed shapes that a GPU repeats by itself: a CUDA graph for each set of shapes that is met.

Nothing between a batch and its padded detections, or its losses and gradients, waits for the host or depends on data in
its shape; so one launch can stand for the hundreds that it takes. Canvases are few, and so are graphs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rcnn.acceleration.dense import GRAPHS

T = TypeVar("T")
Capture = Callable[[Callable[[], T]], tuple[Callable[[], object], T]]
"""From work to what repeats it, and its results, which each repetition writes anew."""


@dataclass(frozen=True)
class _Graph(Generic[T]):
    inputs: tuple[Any, ...]
    replay: Callable[[], object]
    outputs: T


class Graphed(Generic[T]):
    """A function of trees of tensors, as graphs. What it reads beside its arguments must stay where it is in memory.

    Its results are copies. Of more than `most` sets of shapes the later ones run as they are.
    """

    def __init__(self, work: Callable[..., T], capture: Capture[T], most: int = GRAPHS) -> None:
        self.work = work
        self.capture = capture
        self.most = most
        self.graphs: dict[object, _Graph[T]] = {}

    def __call__(self, *inputs: Any) -> T:
        """What `work` gives for the inputs."""
        leaves, form = pytree.tree_flatten(inputs)
        key = (form, tuple((leaf.shape, leaf.stride(), leaf.dtype) for leaf in leaves))
        if key not in self.graphs:
            if len(self.graphs) >= self.most:
                return self.work(*inputs)
            self.graphs[key] = self._captured(inputs)
        graph = self.graphs[key]
        for own, new in zip(pytree.tree_leaves(graph.inputs), leaves, strict=True):
            own.copy_(new)
        graph.replay()
        return pytree.tree_map_only(Tensor, torch.clone, graph.outputs)

    def _captured(self, inputs: tuple[Any, ...]) -> _Graph[T]:
        own = pytree.tree_map_only(Tensor, torch.clone, inputs)
        replay, outputs = self.capture(lambda: self.work(*own))
        return _Graph(own, replay, outputs)


def capture_on(device: torch.device) -> Capture[Any] | None:
    """What records work on a device; None where work is not recorded."""
    return CUDACapture() if device.type == "cuda" else None


class CUDACapture:
    """Records CUDA graphs that share memory: they are never replayed at the same time."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], T]) -> tuple[Callable[[], object], T]:
        """Three runs for what is made on first use, on a stream beside; then the record, which runs nothing."""
        beside, current = torch.cuda.Stream(), torch.cuda.current_stream()
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(3):
                work()
        current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may ask for page-locked memory meanwhile: those of the loader do.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            outputs = work()
        return graph.replay, outputs
