"""The limit on memory holds: also what threads hold for requests that have ended is counted, and no longer."""

import asyncio
import gc
import socket
from contextlib import ExitStack
from threading import Event

import pytest
from PIL import Image
from serving_parts import PNG, Colours, behind, encoded, png, refused, serving, threaded, until

from rcnn.data.picture import Encoded
from rcnn.errors import DataError
from rcnn.serving import uploads
from rcnn.serving.app import _unless_gone
from rcnn.serving.limits import Ledger, Limits, RefusedError
from rcnn.serving.service import Service

pytestmark = pytest.mark.usefixtures("quiet_log")
PIXELS = 3 * 6 * 8
"""Bytes of the picture that `png` makes, decoded."""


@pytest.fixture
def decoding(monkeypatch):
    """Decoders that wait for this."""
    go, real = Event(), uploads.read_picture
    monkeypatch.setattr(uploads, "read_picture", lambda *words: (go.wait(10), real(*words))[1])
    yield go
    go.set()


def in_memory(content):
    """How many files of that content there are."""
    gc.collect()
    return sum(type(one) is Encoded and one.content == content for one in gc.get_objects())


def test_bodies_and_pictures_in_work_hold_no_more_memory_than_allowed():
    detector = Colours()
    with serving(detector, memory=40_000) as (client, service):
        large = encoded(Image.new("RGB", (100, 100)))
        threads, answers = behind(detector, client, 1, large)
        answer = client.post("/detect", content=large, headers=PNG)
        assert "bytes, at most 40,000 may be; come back later" in refused(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        detector.go.set()
        threads[0].join(5)
        assert answers[0].status_code == 200
        assert client.post("/detect", content=large, headers=PNG).status_code == 200
        assert (service.ledger.bytes, service.ledger.pictures) == (0, 0)


def test_a_request_that_never_fits_is_413_and_not_told_to_come_back():
    large = encoded(Image.new("RGB", (100, 100)))
    larger = encoded(Image.new("RGB", (120, 120)))
    with serving(memory=40_000, queue=2) as (client, service):
        for content in (large * 200, larger):
            answer = client.post("/detect", content=content, headers=PNG)
            assert "at most 40,000 fit in" in refused(answer, 413)
            assert "retry-after" not in answer.headers
        for picture, count in ((large, 2), (png(), 3)):  # each would fit
            files = [("files", (f"{n}.png", picture)) for n in range(count)]
            refused(client.post("/detect", files=files), 413)
        until(lambda: (service.ledger.bytes, service.ledger.pictures) == (0, 0))


def test_what_decoders_hold_stays_counted_when_clients_hang_up_and_what_waits_is_let_go(decoding):
    service, body = Service(Colours(), "colours", Limits()), png() + b"no other test's"
    with threaded(service) as port:
        with ExitStack() as clients:
            for _ in range(5):
                one = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                one.sendall(b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            until(lambda: service.ledger.bytes == 5 * len(body) + 2 * PIXELS)
            assert in_memory(body) == 5
        until(lambda: service.idle)
        until(lambda: service.ledger.bytes == 2 * (len(body) + PIXELS))  # two threads
        assert service.ledger.pictures == 0
        assert in_memory(body) == 2
        decoding.set()
        until(lambda: service.ledger.bytes == 0)


def test_what_a_batch_holds_stays_counted_when_time_is_up():
    detector = Colours()
    with serving(detector, seconds=0.2) as (client, service):
        detector.go.clear()
        assert client.post("/detect", content=png(), headers=PNG).status_code == 504
        assert service.idle
        assert service.ledger.bytes == PIXELS
        detector.go.set()
        until(lambda: service.ledger.bytes == 0)


def test_memory_that_threads_hold_is_refused_to_others(decoding):
    with serving(seconds=0.2, memory=5 * PIXELS) as (client, service):
        kept = len(png()) + PIXELS
        assert client.post("/detect", content=png(), headers=PNG).status_code == 504
        assert service.ledger.bytes == kept
        assert client.post("/detect", content=bytes(5 * PIXELS - kept + 1), headers=PNG).status_code == 503
        decoding.set()
        until(lambda: service.ledger.bytes == 0)
        assert client.post("/detect", content=png(), headers=PNG).status_code == 200


def test_a_request_that_has_ended_takes_and_keeps_nothing_more():
    ledger = Ledger(Limits())
    with ledger.share() as share:
        share.take(size=10, kept=4)
    assert ledger.bytes == 4
    for words in ({"size": 1}, {"kept": 1}):
        with pytest.raises(RefusedError, match="the request has ended"):
            share.take(**words)
    share.let_go(4)
    assert (ledger.bytes, ledger.pictures, ledger.empty) == (0, 0, True)


def test_work_for_a_client_that_hangs_up_has_ended_before_its_share_is_closed():
    met = []

    class Gone:
        async def receive(self):
            await asyncio.sleep(0)
            return {"type": "http.disconnect"}

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            met.append("ended")
            raise DataError("that nobody waits for")

    async def request():
        with pytest.raises(RefusedError, match="hung up"):
            await _unless_gone(Gone(), work())
        met.append("closed")

    asyncio.run(request())
    assert met == ["ended", "closed"]
