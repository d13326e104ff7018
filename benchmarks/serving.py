"""How a server bears many clients: batches against one by one, and ten thousand requests of which a tenth is broken.

usage: python benchmarks/serving.py [throughput] [endurance] [--clients 16] [--requests 10000] [--rounds 3]

Servers are processes of their own, on loopback, and so are the clients: all share this machine's cores.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from PIL import Image

from rcnn import build
from rcnn.bench.machine import processor
from rcnn.bench.pictures import photo
from rcnn.bench.predict import MOBILE, Work, as_measured, detector_of, shipped
from rcnn.inference.predictor import Detector
from rcnn.presets.overrides import override, preset
from rcnn.serving import server
from rcnn.serving.limits import Limits
from rcnn.serving.service import Service
from rcnn.serving.spread import spread
from rcnn.training.session import choose_device

WORK = Work(MOBILE, (320, 480))
TINY = {
    "input.short": 64,
    "input.long": 96,
    "model.channels": 16,
    "model.norm": "group",
    "model.rpn.after": 30,
    "model.head.widths": [32, 32],
}
LIMITS = Limits(body=200_000, upload_seconds=1, queue=64)
BATCH, WAIT = 8, 0.005
GONE, LOST = 0, -1
"""In place of a status: the client did not wait for one; the server hung up without one."""
GROWTH = 0.05
"""So much more memory, as a share, at the end than after the first fifth is too much."""


def mobile() -> Detector:
    """Torchvision's MobileNet at 320 pixels with random weights that find things."""
    device = choose_device("auto")
    theirs = as_measured(shipped(WORK, photo(*WORK.size, seed=1)), device)
    return detector_of(WORK, theirs, device, bf16=False)


def tiny() -> Detector:
    """The demo's network, very small, with random weights."""
    torch.manual_seed(0)
    config = override(preset("demo"), None, (), TINY)
    model, _ = build.detector(config, 2)
    return Detector(model, build.preprocess(config.input), ("disc", "square"), "cpu").settled()


def serve(make: Callable[[], Detector], batch: int, wait: float, pipe: Any) -> None:
    """A server's process; its port goes into the pipe."""
    with server.bound("127.0.0.1", 0) as sock:
        pipe.send(sock.getsockname()[1])
        finished = server.run(Service(spread(make()), "benchmark", LIMITS, batch, wait, score=0.05), sock)
    raise SystemExit(0 if finished else 1)


@contextmanager
def running(make: Callable[[], Detector], batch: int, wait: float) -> Iterator[int]:
    """A server that is ready, and its port; at the end it is told to end, and must do so in order."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(make, batch, wait, there))
    process.start()
    there.close()  # here: so that a process that fails is not waited for
    try:
        yield _ready(process, here)
    finally:
        process.terminate()
        process.join(30)
        if late := process.is_alive():
            process.kill()
            process.join()
    if late or process.exitcode != 0:
        raise SystemExit(f"the server ended with status {process.exitcode}")


def _ready(process: BaseProcess, pipe: Any) -> int:
    """The port of a server's process, once it serves."""
    try:
        port: int = pipe.recv()
        while asyncio.run(_status(port)) != 200:
            if not process.is_alive():
                raise EOFError
            time.sleep(0.1)
    except EOFError:
        raise SystemExit("the server did not start") from None
    return port


async def _status(port: int) -> int:
    try:
        return (await Client(port).ask("GET", "/healthz"))[0]
    except OSError:
        return 0


@dataclass
class Client:
    """One connection, kept as long as the server keeps it."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    answered: bool = False
    """Whether this connection has given an answer before."""
    again: int = 0
    """Requests that met a connection which the server had closed after an answer, and were sent anew."""

    async def ask(
        self, method: str, path: str, body: bytes = b"", sent: int | None = None, leaves: bool = False
    ) -> tuple[int, bytes]:
        """Status and body of an answer; of the request's body only the first `sent` bytes are sent, if told.

        A server may close a connection that is idle: then, and only then, a request is sent a second time.
        """
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body[:sent]
        try:
            status, answer, stays = await self._exchange(request, leaves)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            idle = self.answered and not getattr(error, "partial", b"")
            self.close()
            if not idle:
                return LOST, b""
            self.again += 1
            return await self.ask(method, path, body, sent, leaves)
        if not stays or sent is not None:
            self.close()
        return status, answer

    async def _exchange(self, request: bytes, leaves: bool) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection stays."""
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        await self.writer.drain()
        if leaves:
            return GONE, b"", False
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        self.answered = False  # from here on nothing is sent anew
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        answer = await self.reader.readexactly(int(headers.get("content-length", 0)))
        self.answered = True
        return int(lines[0].split()[1]), answer, headers.get("connection") != "close"

    def close(self) -> None:
        """The next request has a new connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader, self.writer, self.answered = None, None, False


@dataclass
class Load:
    """What came of many requests."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: dict[bytes, Any] = field(default_factory=dict)
    wrong: int = 0
    again: int = 0
    """Requests that were sent anew: `Client.again`."""

    @property
    def lost(self) -> int:
        """Good requests without detections, broken ones with some, and those of any kind without an answer."""
        return sum(
            count
            for (kind, status), count in self.statuses.items()
            if (kind == "good") != (status == 200) or status == LOST
        )

    def __str__(self) -> str:
        median, late = np.percentile(self.times, [50, 99]) * 1e3
        return f"{len(self.times) / self.seconds:6.2f} pictures/s, p50 {median:5.0f} ms, p99 {late:5.0f} ms"


@dataclass(frozen=True)
class Request:
    """What is sent: a body, of which `sent` bytes are sent, and what it is called; `leaves` awaits no answer."""

    kind: str
    body: bytes
    sent: int | None = None
    leaves: bool = False


def laden(port: int, requests: Sequence[Request], clients: int, watch: Callable[[int], None] = lambda _: None) -> Load:
    """The requests sent by so many clients, each of which waits for its answer."""
    load, left = Load(), iter(requests)

    async def client() -> None:
        connection = Client(port)
        for request in left:
            began = time.perf_counter()
            status, answer = await connection.ask("POST", "/detect", request.body, request.sent, request.leaves)
            load.times.append(time.perf_counter() - began)
            load.statuses[request.kind, status] += 1
            if status == 200:
                found = json.loads(answer)["pictures"]
                load.wrong += not alike(load.answers.setdefault(request.body, found), found)
            watch(len(load.times))
        load.again += connection.again
        connection.close()

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    began = time.perf_counter()
    asyncio.run(all_clients())
    load.seconds = time.perf_counter() - began
    return load


def alike(first: Any, second: Any) -> bool:
    """Whether two answers have the same detections but for rounding: 98 % of each other's boxes."""
    (one,), (other,) = ([picture["detections"] for picture in answer] for answer in (first, second))
    rows = [np.array([[*d["box"], 100 * d["score"]] for d in found]).reshape(-1, 5) for found in (one, other)]
    if max(map(len, rows)) == 0:
        return True
    near = (np.abs(rows[0][:, None] - rows[1][None]) < 1).all(axis=2)
    return bool(near.any(axis=1).mean() >= 0.98 and near.any(axis=0).mean() >= 0.98)


def encoded(pixels: Any, form: str) -> bytes:
    """A picture's file."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, form, quality=92)
    return target.getvalue()


def throughput(clients: int, rounds: int, requests: int) -> None:
    """In turn, so that what else the machine does meets both alike."""
    pictures = [Request("good", encoded(photo(*WORK.size, seed=seed), "JPEG")) for seed in range(8)]
    with running(mobile, BATCH, WAIT) as together, running(mobile, 1, 0.0) as alone:
        ports = {f"batches of at most {BATCH}": together, "one by one": alone}
        first = {name: laden(port, pictures * 2, 8).answers for name, port in ports.items()}
        told = [list(answers.values()) for answers in first.values()]
        if not all(alike(first["one by one"][p.body], first[f"batches of at most {BATCH}"][p.body]) for p in pictures):
            raise SystemExit("the two do not find the same")
        print(
            f"{WORK}, {clients} clients, {sum(len(a[0]['detections']) for a in told[0]) / 8:.0f} detections a picture"
        )
        rates: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(rounds):
            for name, port in ports.items():
                load = laden(port, (pictures * requests)[:requests], clients)
                rates[name].append(requests / load.seconds)
                print(f"  {name:22} {load}", flush=True)
        ratio = np.median([a / b for a, b in zip(*rates.values(), strict=True)])
        print(f"  batches are {ratio:.2f} times as fast as one by one")


def endurance(clients: int, requests: int) -> None:
    """Good requests and broken ones, mixed; the good must be answered, the broken refused, and memory stay."""
    chance = random.Random(0)
    good = [Request("good", encoded(photo(64, 80, seed), "PNG")) for seed in range(40)]
    noise = chance.randbytes(250_000)
    broken = [
        Request("no picture", noise[:5000]),
        Request("huge body", noise),
        Request("huge picture", encoded(np.zeros((12_000, 9_000), bool), "PNG")),
        *(Request("truncated", one.body[: len(one.body) // 2]) for one in good[:5]),
        Request("slow", good[0].body, sent=500),
        Request("hangs up", good[0].body, sent=500, leaves=True),
        Request("hangs up", good[0].body, leaves=True),
    ]
    mixed = [chance.choice(broken if n % 10 == 9 else good) for n in range(requests)]
    with running(tiny, BATCH, WAIT) as port:
        laden(port, mixed[:500], clients)  # what is allocated once is allocated
        memory = {0: _memory(port)}

        def watch(done: int) -> None:
            if done % max(1, requests // 5) == 0:
                memory[done] = _memory(port)

        load = laden(port, mixed, clients, watch)
        print(f"{requests:,} requests, {clients} clients: {load}")
        for (kind, status), count in sorted(load.statuses.items()):
            print(f"  {kind:13} {status}  {count:6,}")
        print(f"  answers that differ from others of the same picture: {load.wrong}; sent anew: {load.again}")
        memory[requests] = _memory(port)
        print("  memory " + ", ".join(f"{mib:.0f} MiB after {done:,}" for done, mib in memory.items()))
    judge(load, memory)


def judge(load: Load, memory: Mapping[int, float]) -> None:
    """Raise SystemExit where a request was lost or memory grew: MiB by requests done, 0 of which do not count."""
    readings = [memory[done] for done in sorted(memory) if done]
    grown = readings[-1] / readings[0] - 1
    print(f"  requests lost, or broken ones answered: {load.lost}; memory since the first fifth: {grown:+.1%}")
    if load.lost or load.wrong or grown > GROWTH:
        raise SystemExit(1)


def _memory(port: int) -> float:
    """MiB that the server's process holds."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    return float(lines["process_resident_memory_bytes"]) / 2**20


def main() -> None:
    """One part, or both."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", choices=["throughput", "endurance"], default=["throughput", "endurance"])
    arguments.add_argument("--clients", type=int, default=16)
    arguments.add_argument("--requests", type=int, default=10_000, help="of endurance")
    arguments.add_argument("--pictures", type=int, default=160, help="of each round of throughput")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    if "throughput" in given.parts:
        throughput(given.clients, given.rounds, given.pictures)
    if "endurance" in given.parts:
        endurance(given.clients, given.requests)


if __name__ == "__main__":
    main()
