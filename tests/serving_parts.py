"""A detector whose answers can be told beforehand, behind the server's application."""

import asyncio
import io
import time
from contextlib import contextmanager
from threading import Event, Thread

import numpy as np
import torch
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from rcnn.errors import DataError
from rcnn.serving import server
from rcnn.serving.app import create_app
from rcnn.serving.limits import Limits
from rcnn.serving.service import Service
from rcnn.structures import Detections

CLASSES = ("red", "green", "blue")
PNG = {"content-type": "image/png"}


class Colours:
    """Finds three boxes in every picture, the best of its strongest colour; waits for `go` before each batch.

    A picture of 13 pixels' width is an error of its own, one of 7 fails the batch that it is in.
    """

    class_names = CLASSES
    fills = False
    shown = torch.tensor([0.5, 0.5, 0.5])

    def __init__(self):
        self.go, self.begun = Event(), Event()
        self.go.set()
        self.batches = []

    def predict_each(self, pictures, batch=1, score=0.0):
        if not self.batches:
            self.batches.append([])  # the service's own picture
            yield Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), CLASSES)
            return
        self.batches.append([picture.shape[:2] for picture in pictures])
        self.begun.set()
        assert self.go.wait(10)
        if any(picture.shape[1] == 7 for picture in pictures):
            raise RuntimeError("out of memory\nand more")
        for picture in pictures:
            yield DataError("no regions") if picture.shape[1] == 13 else found(picture)


def found(picture):
    height, width, _ = picture.shape
    best = int(picture.mean(axis=(0, 1)).argmax())
    labels = torch.tensor([best + 1, (best + 1) % 3 + 1, (best + 2) % 3 + 1])
    box = torch.tensor([0.0, 0.0, width, height])
    return Detections(torch.stack([box, box / 2, box / 4]), torch.tensor([0.9, 0.6, 0.2]), labels, CLASSES)


def png(colour=0, size=(6, 8), form="PNG"):
    """A picture of height and width in one colour."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., colour] = 200
    return encoded(Image.fromarray(pixels), form)


def encoded(image, form="PNG", **options):
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


@contextmanager
def serving(detector=None, batch=8, wait=0.0, **limits):
    """A client of a server, and its service, ready."""
    service = Service(detector or Colours(), "colours", Limits(**limits), batch, wait)
    with TestClient(create_app(service)) as client:
        until(lambda: service.state == "ok")
        yield client, service


@contextmanager
def threaded(service, routes=lambda app: None):
    """A server of a service in a thread, and its port."""
    app = create_app(service)
    routes(app)
    protocol = type("Impatient", (server._Impatient,), {"patience": 0.3})
    one = uvicorn.Server(uvicorn.Config(app, http=protocol, ws="none", log_config=None, access_log=False))
    with server.bound("127.0.0.1", 0) as sock:
        thread = Thread(target=one.run, args=([sock],))
        thread.start()
        until(lambda: one.started and service.state == "ok")
        try:
            yield sock.getsockname()[1]
        finally:
            one.should_exit = True
            thread.join(10)


def until(condition, seconds=10.0):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def boxes(answer):
    """Class and box of each detection of each picture."""
    return [[(one["class"], one["box"]) for one in picture["detections"]] for picture in answer.json()["pictures"]]


def ask(app, chunks, headers=(("content-type", "image/png"),), pause=0.0):
    """Status, headers and body that an application answers to a POST whose body comes in chunks, and chunks left."""
    left, sent = list(chunks), []

    async def receive():
        await asyncio.sleep(pause)
        if not left:
            await asyncio.sleep(30)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/detect",
        "raw_path": b"/detect",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]), len(left)


def refused(answer, status):
    """The line that a refusal says."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"detail"}
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


def behind(detector, client, count, content=None):
    """Threads that each send a picture and keep what is answered, while the detector is busy with the first."""
    detector.go.clear()
    detector.begun.clear()
    answers = [None] * count

    def send(place):
        answers[place] = client.post("/detect", content=content or png(), headers=PNG)

    threads = [Thread(target=send, args=(place,)) for place in range(count)]
    threads[0].start()
    assert detector.begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    return threads, answers
