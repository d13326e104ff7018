"""The library from outside: train, load and evaluate, as functions of plain values."""

from rcnn.api.checking import Checked, check
from rcnn.api.compressing import Truncated, compress
from rcnn.api.data import Data, read_data
from rcnn.api.data_formats import convert_data
from rcnn.api.loading import load, load_named, uses_bf16
from rcnn.api.looking import look
from rcnn.api.measuring import Predicted, detect, evaluate_detector, evaluation_samples, measure
from rcnn.api.training import Prepared, prepare_training, train
from rcnn.api.transfer import Kept, source_config
from rcnn.presets import DEFAULT_PRESET
from rcnn.presets.sources import stored_config

__all__ = [
    "DEFAULT_PRESET",
    "Checked",
    "Data",
    "Kept",
    "Predicted",
    "Prepared",
    "Truncated",
    "check",
    "compress",
    "convert_data",
    "detect",
    "evaluate_detector",
    "evaluation_samples",
    "load",
    "load_named",
    "look",
    "measure",
    "prepare_training",
    "read_data",
    "source_config",
    "stored_config",
    "train",
    "uses_bf16",
]
