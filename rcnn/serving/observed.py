"""Every request that reaches the application is counted, whatever becomes of it."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rcnn.serving.metrics import Metrics

PATHS = frozenset({"/", "/detect", "/healthz", "/metrics", "/model", "/openapi.json"})
"""Others are counted as one: what strangers ask for shall not become names of series."""


class Observed:
    """Around an application: statuses, times and requests in flight.

    It does not see what the server answers by itself: 400 to what is no HTTP, 408 to a head that is too slow, 503 where
    there are too many connections.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, status, began = scope["path"], 500, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        work = path == "/detect"
        self.metrics.in_flight.inc(work)
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.in_flight.dec(work)
            self.metrics.requests.labels(path if path in PATHS else "other", str(status)).inc()
            if work:
                self.metrics.latency.observe(time.monotonic() - began)
