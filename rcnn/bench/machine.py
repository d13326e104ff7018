"""What a measurement depends on beside the code that is measured."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from rcnn.training.session import computes_bf16

MEASURED = (
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "pillow",
    "hotcoco",
    "pycocotools",
    "detectron2",
    "onnxruntime",
    "openvino",
    "nncf",
    "triton",
)
"""Packages whose versions may decide a race; those that are not installed are left out."""


@dataclass(frozen=True)
class Machine:
    """Where something was measured, and with what."""

    processor: str
    """as the system names it, with the vector instructions that torch uses: names of rented machines say little"""
    cores: int
    threads: int
    device: str
    system: str
    python: str
    versions: Mapping[str, str]
    commit: str

    @property
    def title(self) -> str:
        """What sets it apart from other machines, in one line."""
        place = "" if self.device == "cpu" else f", {self.device}"
        versions = ", ".join(f"{name} {self.versions[name]}" for name in ("torch", "torchvision"))
        return f"{self.processor}, {self.cores} cores{place}; {versions}"

    @property
    def slug(self) -> str:
        """The same as part of a file's name."""
        words = f"{self.processor}-{'' if self.device == 'cpu' else self.device}-{self.threads}-threads"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def this_machine(device: torch.device) -> Machine:
    """What this process runs on."""
    return Machine(
        processor=f"{processor()} ({torch.backends.cpu.get_cpu_capability()}{_bf16()})",
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        system=platform.system(),
        python=platform.python_version(),
        versions={name: found for name in MEASURED if (found := _version(name))},
        commit=commit(),
    )


@cache
def processor() -> str:
    """The processor's name, with family and model where the system tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else []
    pairs = (line.partition(":") for line in reversed(lines))  # so that the first core's lines are the last to be kept
    known = {key.strip(): value.strip() for key, _, value in pairs}
    name = known.get("model name") or platform.processor() or platform.machine()
    return f"{name}, family {known['cpu family']} model {known['model']}" if "cpu family" in known else name


def commit() -> str:
    """The state of the code: the newest commit, `-dirty` where code differs from it; `unknown` outside a checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!*.md", ":!*.svg")
    return f"{head}-dirty" if changed else head or "unknown"


def _git(*words: str) -> str:
    root = Path(__file__).parents[2]
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _bf16() -> str:
    return ", bf16" if computes_bf16(torch.device("cpu")) else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
