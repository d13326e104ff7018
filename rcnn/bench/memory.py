"""The memory that a way works in, beyond what its models and pictures hold: measured in a process of its own."""

import ctypes
import subprocess
import sys
from pathlib import Path

import torch

from rcnn.bench.cases import case_of
from rcnn.bench.harness import Case
from rcnn.errors import ConfigError, last_line

MIB = 2**20
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def check_memory(device: torch.device) -> None:
    """Raise ConfigError where it cannot be measured."""
    if device.type == "cpu" and not _RESET.exists():
        raise ConfigError("--memory: the processor's is told by Linux alone; leave it out, or measure on a GPU")


def working_memory(part: str, against: str, number: int, way: int, device: torch.device) -> float:
    """MiB of a way of case `number` of a part, both counted from 0."""
    words = (part, against, number, way, device, torch.get_num_threads())
    command = [sys.executable, "-m", "rcnn.bench.memory", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"--memory: {part}, case {number}, way {way} failed: {last_line(done.stderr)}")
    return float(done.stdout.split()[-1])


def peak(case: Case, way: int, device: torch.device) -> float:
    """MiB that one more run of a way, after a first, takes at most."""
    work = case.ways[way].run
    if device.type == "cuda":  # what CUDA graphs keep for themselves is taken in the first run
        torch.cuda.empty_cache()
        held = torch.cuda.memory_reserved(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        work()
        return (torch.cuda.max_memory_reserved(device) - held) / MIB
    work()
    _give_back()
    _RESET.write_text("5", "ascii")  # the kernel forgets the highest use so far
    held = _status("VmRSS")
    work()
    return (_status("VmHWM") - held) / MIB


def _give_back() -> None:
    """What was freed is the system's again, so that it counts when it is taken once more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    """Bytes."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text("ascii").splitlines())
    return int(lines[key].split()[0]) * 1024


def main(part: str, against: str, number: str, way: str, device: str, threads: str) -> None:
    """In a process of its own."""
    torch.set_num_threads(int(threads))
    where = torch.device(device)
    for case in case_of(part, against, int(number), where):
        print(peak(case, int(way), where))


if __name__ == "__main__":
    main(*sys.argv[1:])
