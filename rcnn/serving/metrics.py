"""What Prometheus is told."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counts of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "rcnn_requests", "Requests, by path and HTTP status.", ("path", "status"), registry=self.registry
        )
        self.latency = self._histogram("rcnn_request_seconds", "From head to answer of POST /detect.", SECONDS)
        self.detecting = self._histogram("rcnn_batch_seconds", "The detector's time for a batch.", SECONDS)
        self.batches = self._histogram("rcnn_batch_pictures", "Pictures that went through together.", BATCHES)
        self.pictures = Counter("rcnn_pictures", "Pictures that were answered.", registry=self.registry)
        self.in_flight = Gauge("rcnn_requests_in_flight", "Requests to POST /detect.", registry=self.registry)
        self.waiting = Gauge("rcnn_queue_pictures", "Pictures that wait for the detector.", registry=self.registry)
        self.held = Gauge("rcnn_held_bytes", "Bodies and pictures in work.", registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=(*buckets, math.inf), registry=self.registry)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
