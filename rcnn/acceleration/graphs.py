"""Work of fixed shapes that a GPU repeats by itself: a CUDA graph for each set of shapes that is met.

Nothing between a batch and its padded detections, or its losses and gradients, waits for the host or depends on data in
its shape; so one launch can stand for the hundreds that it takes. Canvases are few, and so are graphs.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rcnn.acceleration.dense import GRAPHS
from rcnn.errors import first_line

T = TypeVar("T")
Capture = Callable[[Callable[[], T]], tuple[Callable[[], object], T]]
"""From work to what repeats it, and its results, which each repetition writes anew; RuntimeError where it cannot."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Graph(Generic[T]):
    inputs: tuple[Tensor, ...]
    replay: Callable[[], object]
    outputs: T


class Graphed(Generic[T]):
    """A function of trees of tensors, as graphs. What it reads beside its arguments must stay where it is in memory.

    Its results are copies. Of more than `most` sets of shapes the later ones run as they are, and so do all that come
    after one that could not be captured, as where memory is short.
    """

    def __init__(self, work: Callable[..., T], capture: Capture[T], most: int = GRAPHS) -> None:
        self.work = work
        self.capture = capture
        self.most = most
        self.graphs: dict[object, _Graph[T]] = {}
        """By form, shapes and types of the inputs."""
        self._places: dict[object, Tensor] = {}
        """Where graphs read their inputs: one memory for all of a shape, written before each replay."""

    def __call__(self, *inputs: Any) -> T:
        """What `work` gives for the inputs."""
        leaves, form = pytree.tree_flatten(inputs)
        key = (form, tuple((leaf.shape, leaf.stride(), leaf.dtype) for leaf in leaves))
        if key not in self.graphs and len(self.graphs) < self.most:
            self._capture(key, leaves, form)
        graph = self.graphs.get(key)
        if graph is None:
            return self.work(*inputs)
        for own, new in zip(graph.inputs, leaves, strict=True):
            own.copy_(new)
        graph.replay()
        return pytree.tree_map_only(Tensor, torch.clone, graph.outputs)

    def _capture(self, key: object, leaves: Sequence[Tensor], form: pytree.TreeSpec) -> None:
        names = [(number, leaf.shape, leaf.stride(), leaf.dtype) for number, leaf in enumerate(leaves)]
        places = [self._places.get(name) for name in names]
        own = [torch.empty_like(leaf) if place is None else place for place, leaf in zip(places, leaves, strict=True)]
        for place, leaf in zip(own, leaves, strict=True):
            place.copy_(leaf)
        try:
            replay, outputs = self.capture(lambda: self.work(*pytree.tree_unflatten(own, form)))
        except RuntimeError as error:  # what is wrong with the work itself is raised again where it runs as it is
            cause = error.__context__ if isinstance(error.__context__, Exception) else error  # not that it did not end
            _log.warning("no further CUDA graph, for shapes like %s: %s", tuple(leaves[0].shape), first_line(cause))
            self.most = 0
            return
        self._places |= dict(zip(names, own, strict=True))
        self.graphs[key] = _Graph(tuple(own), replay, outputs)


def capture_on(device: torch.device) -> Capture[Any] | None:
    """What records work on a device; None where work is not recorded."""
    return CUDACapture(device) if device.type == "cuda" else None


class CUDACapture:
    """Records CUDA graphs that share memory: they are never replayed at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()  # a trainer and its graphs hold each other, and with them the memory of earlier ones
        self.pool = torch.cuda.graph_pool_handle()
        self.beside = torch.cuda.Stream(device)

    def __call__(self, work: Callable[[], T]) -> tuple[Callable[[], object], T]:
        """Three runs for what is made on first use, on a stream beside; then the record, which runs nothing."""
        current = torch.cuda.current_stream(self.device)
        self.beside.wait_stream(current)
        try:
            with torch.cuda.stream(self.beside):  # left also where a record fails, which does not leave its own
                for _ in range(3):
                    work()
                return self._record(work)
        finally:
            current.wait_stream(self.beside)

    def _record(self, work: Callable[[], T]) -> tuple[Callable[[], object], T]:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may ask for page-locked memory meanwhile: those of the loader do.
            with torch.cuda.graph(graph, self.pool, self.beside, capture_error_mode="thread_local"):
                outputs = work()
        except BaseException:
            with suppress(RuntimeError):  # torch 2.11 leaves the pool open where a record fails to end
                torch._C._cuda_endAllocateToPool(self.beside.device_index, self.pool)
            raise
        return graph.replay, outputs
