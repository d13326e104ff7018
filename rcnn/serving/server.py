"""A socket, uvicorn on it, and an end in order."""

import asyncio
import ipaddress
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rcnn.errors import ConfigError
from rcnn.serving.answers import Problem
from rcnn.serving.app import create_app
from rcnn.serving.service import Service

CONNECTIONS = 1000
"""More are answered with 503."""


def bound(host: str, port: int) -> socket.socket:
    """A socket of that address that does not listen yet; port 0 takes a free one.

    Raises ConfigError for an address that is none of this machine's, and for a port that is taken.
    """
    with ExitStack() as failing:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            sock = failing.enter_context(socket.socket(family))
            if os.name == "posix":  # a port that a server before this one has left is free
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"--host {host} --port {port}: {reason}; give another port or address") from error
        failing.pop_all()
    return sock


def address_of(sock: socket.socket) -> str:
    """Where a browser of this machine finds a bound socket."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_open(sock: socket.socket) -> bool:
    """Whether other machines may reach a bound socket."""
    return not ipaddress.ip_address(sock.getsockname()[0]).is_loopback


def run(service: Service, sock: socket.socket, at_once: Callable[[], None] = lambda: None) -> bool:
    """Serve until SIGTERM or Ctrl-C, and finish what is in work; a second signal waits for no request any more.

    It calls `at_once`, which may end the process: Python itself waits at its end for threads in the midst of work.
    Returns whether all in work was done in time. Raises what ended the detector's thread before its time.
    """
    patience = service.limits.upload_seconds
    config = uvicorn.Config(
        create_app(service),
        http=type("Impatient", (_Impatient,), {"patience": patience}),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,  # for sending the last answers: what is in work was waited for before
        server_header=False,
    )
    _Server(config, service, at_once).run([sock])
    if service.batcher.failure is not None:
        raise service.batcher.failure
    return service.finished


class _Server(uvicorn.Server):
    """Told to end, it still answers, but takes no new work, until what is in work is done or time is up."""

    def __init__(self, config: uvicorn.Config, service: Service, at_once: Callable[[], None]) -> None:
        super().__init__(config)
        self.service, self.at_once = service, at_once
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What signals call, in the main thread."""
        if self._told:
            self.force_exit = self.should_exit = True
            self.at_once()
        self.service.refuse()
        self._told = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; asked ten times a second."""
        if self.service.state == "broken":
            return True
        if self._told and (self.service.idle or time.monotonic() > self.service.until):
            self.should_exit = True
        return await super().on_tick(counter)


class _Impatient(H11Protocol):
    """Hangs up on clients that take too long over a request's head, or go on sending after the answer.

    Those that are silent after an answer are uvicorn's to hang up on.
    """

    patience = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """A part of a head or a body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()  # the application's own limits hold
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.patience, self._hang_up)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            if self.cycle is None:
                self.transport.write(_too_slow(self.patience))
            self.transport.close()


def _too_slow(seconds: float) -> bytes:
    """The answer to a head that never comes to its end: no request yet that an application could answer."""
    body = Problem(detail=f"the head took more than {seconds:g} seconds; send it faster").model_dump_json().encode()
    head = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: "
    return b"%s%d\r\n\r\n%s" % (head.encode(), len(body), body)
