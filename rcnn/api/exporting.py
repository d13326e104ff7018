"""From a run to a file for another engine, which is written only after it has proved to answer alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from rcnn.api.loading import load_named
from rcnn.data.picture import resolve
from rcnn.data.raw import Size
from rcnn.errors import ConfigError
from rcnn.export.canvases import Arrays, laid_out
from rcnn.export.contract import TOLERANCES, Nearness, Run, cases_of, hold, without_extent
from rcnn.export.engines import as_tensors, run_program, seconds_each
from rcnn.export.graph import Graph, with_limits
from rcnn.export.metadata import Precision
from rcnn.export.pictures import made_up
from rcnn.export.program import Room, export_program
from rcnn.inference.predictor import Detector
from rcnn.methods import FasterRCNN
from rcnn.sample import Picture
