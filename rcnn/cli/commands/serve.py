"""`rcnn serve`."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rcnn.cli import options as o
from rcnn.cli.frame import FAILURE, OK
from rcnn.errors import ConfigError
from rcnn.presets.sources import is_of_others, refuse_unreadable

MIB = 2**20
Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all of this machine's.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Together = Annotated[int, typer.Option("--batch", min=1, help="Pictures that go through together, at most.")]
Wait = Annotated[float, typer.Option(min=0, help="A picture waits so long for others.")]
Body = Annotated[float, typer.Option(min=0.001, help="Of a request's body.")]
Pixels = Annotated[float, typer.Option(min=0.001, help="Of a picture.")]
Pictures = Annotated[int, typer.Option(min=1, help="Of a request.")]
Queue = Annotated[int, typer.Option(min=1, help="Pictures in work, of all requests; more are told to wait.")]
Memory = Annotated[float, typer.Option(min=1, help="For all bodies and pictures in work.")]
TimeLimit = Annotated[float, typer.Option(min=0.001, help="Seconds from body to answer.")]
UploadLimit = Annotated[float, typer.Option(min=0.001, help="Seconds for a request's body.")]
StopLimit = Annotated[float, typer.Option(min=0, help="Seconds for what is in work at the end.")]


def serve(
    run: o.RunArgument,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    batch: Together = 8,
    wait_ms: Wait = 5,
    score: o.LeastScore = None,
    max_mib: Body = 16,
    max_megapixels: Pixels = 50,
    max_pictures: Pictures = 16,
    queue: Queue = 64,
    memory_mib: Memory = 1024,
    time_limit: TimeLimit = 30.0,
    upload_limit: UploadLimit = 10.0,
    stop_limit: StopLimit = 10.0,
    max_proposals: o.MaxProposals = None,
    weights: o.WhichWeights = "best",
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
) -> int:
    """Answer pictures with what is in them, over HTTP, with a page to try it.

    SIGTERM and Ctrl-C end it once what is in work is done, with status 0; with 1 if time was up, or at a second signal.
    """
    _refuse_missing(run, weights)
    from rcnn.api import load_named
    from rcnn.serving import server
    from rcnn.serving.limits import Limits
    from rcnn.serving.service import Service
    from rcnn.serving.spread import spread

    with server.bound(host, port) as sock:
        detector = load_named(run, weights, device, precision, max_proposals, compile)
        pixels, body, memory = (round(most) for most in (max_megapixels * 1e6, max_mib * MIB, memory_mib * MIB))
        pictures, pixels = min(max_pictures, queue), min(pixels, detector.max_pixels)
        limits = Limits(body, pixels, pictures, queue, memory, time_limit, upload_limit, stop_limit)
        tell(run, str(detector.device), host, server.address_of(sock), server.is_open(sock))
        service = Service(spread(detector), name_of(run), limits, batch, wait_ms / 1e3, score)
        return ended(server.run(service, sock, end_at_once))


def ended(finished: bool) -> int:
    """Say how it came to its end; the exit status."""
    print(f"ended: {'all in work was done' if finished else 'time was up for what was in work'}")
    return OK if finished else FAILURE


def end_at_once() -> NoReturn:
    """End this process, whatever its threads do: Python would wait for them, and for all that is in their queues."""
    with suppress(Exception):  # a signal may come while something is printed, and the reader may be gone
        print("ended: told so twice; what was in work is lost", flush=True)
        sys.stderr.flush()
    os._exit(FAILURE)


def name_of(run: str) -> str:
    """What clients are told of the model: where it lies is nobody's business."""
    return run if is_of_others(run) else Path(run).resolve().name


def tell(run: str, device: str, host: str, where: str, is_open: bool) -> None:
    """What is served where, and a warning where others may reach it."""
    if is_open:
        print(f"rcnn: {host} is open to other machines, and there is no authentication", file=sys.stderr)
    print(f"serving {run} on {device} at {where}: POST {where}/detect; Ctrl-C ends", flush=True)


def _refuse_missing(run: str, weights: str) -> None:
    """Raise an error where packages for serving are missing, or the run."""
    try:
        for name in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
            import_module(name)
    except ImportError as error:
        raise ConfigError(f"serving needs more packages ({error}); pip install 'rcnn[serve]'") from error
    refuse_unreadable(run, weights)
