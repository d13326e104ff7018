"""All that is said of GPUs, verified and measured in one go on the GPU of this machine.

Kernels against their references; no wait for the device in a forward pass, nor in that of training; then `rcnn bench`
against torchvision in bf16. Each part is written down when it is done, so that an end by the clock keeps the others.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from rcnn.agreement import matched
from rcnn.bench.harness import exact_convolutions
from rcnn.bench.pictures import photo
from rcnn.bench.predict import RESNET, SAME, Work, as_measured, detector_of, shipped
from rcnn.bench.train import learner, truths
from rcnn.errors import first_line
from rcnn.methods import Method
from rcnn.structures import unpad

ROOT = Path(__file__).parents[1]
CUDA = torch.device("cuda")
SMALL = Work(RESNET, (400, 608), batch=2)


def waits_in_prediction() -> str | None:
    """What waits for the device between a batch that is there and its padded detections; None where nothing does."""
    pictures = [photo(*SMALL.size, seed=1)]
    detector = detector_of(SMALL, as_measured(shipped(SMALL, pictures[0]), CUDA), CUDA, bf16=True)
    batch = detector.batch_of(pictures[0])
    detector.detect(batch)
    return refusal(lambda: detector.detect(batch))


def waits_in_training() -> str | None:
    """The same between a batch and its losses, and their gradients."""
    samples = truths(SMALL.batch, 7, SMALL.size)
    theirs = as_measured(shipped(SMALL, photo(*SMALL.size, seed=0)), CUDA)
    one = learner(SMALL, theirs, samples, CUDA, bf16=True, compiled=False)
    work = partial(one.losses, *one.batch())
    work()
    return refusal(work)


def refusal(work: Callable[[], object]) -> str | None:
    """The first wait for the device, if work waits."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def fullgraph() -> str | None:
    """Whether the whole forward pass compiles as one graph, with the same detections."""
    pictures = [photo(*SMALL.size, seed=1)]
    detector = detector_of(SMALL, as_measured(shipped(SMALL, pictures[0]), CUDA), CUDA, bf16=False)
    model, batch = detector.model, detector.batch_of(pictures[0])
    assert isinstance(model, Method)
    with torch.inference_mode(), exact_convolutions():
        expected, found = model(batch), torch.compile(model, fullgraph=True, dynamic=False)(batch)
    own, plain = (unpad(one, detector.class_names)[0] for one in (found, expected))
    matched(own, plain, least=SAME, pixels=0.01, score=1e-3)
    return None


CHECKS = {
    "nothing waits in prediction": waits_in_prediction,
    "nothing waits in training": waits_in_training,
    "one graph": fullgraph,
}


def run(words: Sequence[str], until: float) -> tuple[bool, str]:
    """Whether a command passed, and how it ended."""
    try:
        left = max(1.0, until - time.monotonic())
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False, timeout=left)
    except subprocess.TimeoutExpired:
        return False, "out of time"
    return done.returncode == 0, f"exit status {done.returncode}"


def checked(check: Callable[[], str | None]) -> tuple[bool, str]:
    """Whether nothing was found, and what."""
    try:
        found = check()
    except Exception as error:  # the others are to be told
        return False, f"{type(error).__name__}: {first_line(error)}"
    return found is None, found or "as it should be"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--seconds", type=float, default=460, help="after that no further part begins, and one ends")
    return parser.parse_args()


def main() -> int:
    """All parts, most telling first."""
    args = arguments()
    if not torch.cuda.is_available():
        print("gpu.py: no GPU on this machine; it measures nothing else", file=sys.stderr)
        return 2
    until = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    said: dict[str, tuple[bool, str]] = {}

    def tell(name: str, result: tuple[bool, str]) -> None:
        said[name] = result
        print(f"{name}: {'passed' if result[0] else 'FAILED'}, {result[1]}", flush=True)
        (args.out / "gpu.json").write_text(json.dumps(said, indent=1), "utf-8")

    tests = [f"tests/test_{name}.py" for name in ("nms", "device", "graphs")]
    tell("kernels", run(["-m", "pytest", "-q", *tests], until))
    for name, check in CHECKS.items():
        tell(name, checked(check))
    for part in ("predict", "train", "ops", "load"):
        files = ["--json", str(args.out / f"{part}.json"), "--results", str(args.out / "RESULTS.md")]
        command = ["-m", "rcnn", "bench", part, "--device", "cuda", "--rounds", "10", "--seconds", "15", *files]
        tell(f"rcnn bench {part}", run(command, until))
    return int(not all(passed for passed, _ in said.values()))


if __name__ == "__main__":
    raise SystemExit(main())
