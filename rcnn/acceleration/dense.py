"""Having `torch.compile` make machine code of a network's dense parts: its convolutions, and its heads' layers.

Shapes are fixed within a canvas, so a part is compiled once for a canvas and a number of pictures, never for a picture.
What lies between the parts (anchors, suppression, pooling) has kernels of its own.
"""

import logging
from collections.abc import Iterator
from functools import cache

import torch
from torch import nn

from rcnn.acceleration.activations import lean
from rcnn.backbones import ImagePyramid
from rcnn.methods import FasterRCNN, Method

GRAPHS = 64
"""So many of one part are kept; beyond that it runs uncompiled. Five canvases, in training and not, need ten."""
_log = logging.getLogger(__name__)


def compile_dense(model: Method, device: torch.device, settled: bool = False) -> bool:
    """Compile a network's dense parts, in place: parameters keep their names. It takes place when each is first used.

    With `settled` weights become part of the machine code, laid out as it wants them, and must not change. Where there
    is no compiler nothing changes but a warning, and False is returned.
    """
    reason = missing_compiler(device.type)
    if reason is not None:
        _log.warning("torch.compile has no compiler here and is left out: %s", reason)
        return False
    # It warns where CUDA is installed and no GPU is there, which compiling for a processor does not need.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
    if not settled:
        lean(model)
    for part in dense_parts(model):
        # Each graph would hold the head's weights once more, and matrix products gain nothing by it.
        part.compile(dynamic=False, options={"freezing": settled and part is not model.head})
    return True


def dense_parts(model: Method) -> Iterator[nn.Module]:
    """What takes most of the time, and is nothing but layers."""
    yield model.backbone.network if isinstance(model.backbone, ImagePyramid) else model.backbone
    if isinstance(model, FasterRCNN):
        yield model.rpn.head
    yield model.head


@cache
def missing_compiler(device: str) -> str | None:
    """Why nothing can be compiled for a kind of device, in one line; None where it can."""
    try:
        torch.compile(_add_one, dynamic=False)(torch.zeros(8, device=device))
    except Exception as error:  # each compiler fails in its own way
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def _add_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1
