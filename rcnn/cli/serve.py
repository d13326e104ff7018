"""`rcnn serve`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rcnn import api
from rcnn.api.loading import is_of_others
from rcnn.cli import options as o
from rcnn.cli.frame import FAILURE, OK
from rcnn.errors import ConfigError

MIB = 2**20


def serve(
    run: o.RunArgument,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that go through together, at most.")] = 8,
    wait_ms: Annotated[float, typer.Option(min=0, help="A picture waits so long for others.")] = 5,
    score: o.LeastScore = None,
    max_mib: Annotated[float, typer.Option(min=0.001, help="Of a request's body.")] = 16,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Of a picture.")] = 50,
    max_pictures: Annotated[int, typer.Option(min=1, help="Of a request.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Pictures in work, of all requests; more are told to wait.")] = 64,
    memory_mib: Annotated[float, typer.Option(min=1, help="For all bodies and pictures in work.")] = 1024,
    time_limit: Annotated[float, typer.Option(min=0.001, help="Seconds from body to answer.")] = 30,
    upload_limit: Annotated[float, typer.Option(min=0.001, help="Seconds for a request's body.")] = 10,
    stop_limit: Annotated[float, typer.Option(min=0, help="Seconds for what is in work at the end.")] = 10,
    max_proposals: o.MaxProposals = None,
    weights: o.WhichWeights = "best",
    device: o.Device = "auto",
    precision: o.Precision = "fp32",
    compile: o.Compile = False,
) -> int:
    """Answer pictures with what is in them, over HTTP, with a page to try it.

    SIGTERM and Ctrl-C end it once what is in work is done, with status 0; with 1 if time was up before.
    """
    try:
        from rcnn.serving import server
        from rcnn.serving.limits import Limits
        from rcnn.serving.service import Service
        from rcnn.serving.spread import spread
    except ImportError as error:
        raise ConfigError(f"serving needs more packages ({error}); pip install 'rcnn[serve]'") from error
    with server.bound(host, port) as sock:
        detector = api.load_named(run, weights, device, precision, max_proposals, compile)
        limits = Limits(
            body=round(max_mib * MIB),
            pixels=min(round(max_megapixels * 1e6), detector.max_pixels),
            pictures=min(max_pictures, queue),
            queue=queue,
            memory=round(memory_mib * MIB),
            seconds=time_limit,
            upload_seconds=upload_limit,
            stop_seconds=stop_limit,
        )
        if server.is_open(sock):
            print(f"rcnn: {host} is open to other machines, and there is no authentication", file=sys.stderr)
        where = server.address_of(sock)
        print(f"serving {run} on {detector.device} at {where}: POST {where}/detect; Ctrl-C ends", flush=True)
        name = run if is_of_others(run) else Path(run).resolve().name  # where it lies is nobody's business
        finished = server.run(Service(spread(detector), name, limits, batch, wait_ms / 1e3, score), sock)
    print("ended: all in work was done" if finished else "ended: time was up for what was in work")
    return OK if finished else FAILURE
