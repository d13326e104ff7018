"""What kind of file is wanted of `rcnn export`, and what of it does not go together: told before torch is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rcnn.errors import ConfigError
from rcnn.export.metadata import Precision

FormatName = Literal["onnx", "openvino", "torch"]
Kind = Literal["uint8", "normalised", "picture"]
SUFFIXES: Mapping[FormatName, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
PACKAGES: Mapping[FormatName, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch": (),
}


@dataclass(frozen=True)
class Plan:
    """What kind of file is wanted. `batch` None is any number of pictures; limits that are None are the run's."""

    format: FormatName = "onnx"
    kind: Kind = "uint8"
    batch: int | None = None
    precision: Precision = "fp32"
    score: float | None = None
    nms: float | None = None
    detections: int | None = None


DEFAULT = Plan()


def refuse_existing(plan: Plan, path: Path, overwrite: bool) -> None:
    """Raise ConfigError where the file of a plan, or OpenVINO's other one, is there already."""
    for file in (path, path.with_suffix(".bin")) if plan.format == "openvino" else (path,):
        if file.exists() and not overwrite:
            raise ConfigError(f"--out {path}: {file} exists; pass --overwrite to replace it")


def refuse(plan: Plan, path: Path, calibration: Path | str | None, evaluation: Path | str | None) -> None:
    """Raise ConfigError for what does not go together, before anything is loaded."""
    suffix, packages = SUFFIXES[plan.format], PACKAGES[plan.format]
    if path.suffix != suffix:
        raise ConfigError(f"--out {path}: files of --format {plan.format} end in {suffix}; give such a name")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}; make it, or give another name")
    if path.is_dir():
        raise ConfigError(f"--out {path}: a folder; give another name")
    needed = (*packages, "nncf") if plan.precision == "int8" and plan.format == "openvino" else packages
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ConfigError(f"--format {plan.format}: needs {', '.join(missing)}; pip install 'rcnn[export]'")
    if plan.format == "torch" and plan.precision != "fp32":
        raise ConfigError(f"--format torch: has no {plan.precision}; leave it out, or pass --format openvino")
    if plan.format == "onnx" and plan.precision == "bf16":
        from rcnn.export.half_onnx import refuse_bf16

        refuse_bf16()
    if (plan.precision == "int8") != (calibration is not None):
        raise ConfigError("--int8 DATA: gives the pictures that 8 bits are calibrated on; pass both or none")
    if evaluation is not None and calibration is None:
        raise ConfigError("--eval DATA: says what 8 bits cost; pass --int8 DATA too, or use rcnn evaluate on the file")
    if plan.kind == "picture" and (plan.batch not in (None, 1) or plan.format == "torch"):
        raise ConfigError("--with-resize: takes one picture at a time, in ONNX and OpenVINO; leave out --batch or it")
