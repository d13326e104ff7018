"""benchmarks/serving.py: a request that is lost counts as lost, and memory that grows as grown."""

import asyncio
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return __import__("serving")


def asked(bench, connections, count):
    """What so many requests of one client meet, and its client; of connections, each is the answers that it gives.

    After them it is closed: when the next request has come, or at once where the last answer is None.
    """
    left = [list(answers) for answers in connections]

    async def serve(reader, writer):
        for answer in left.pop(0):
            if answer is None:
                break
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        else:
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def ask():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            client, statuses = bench.Client(server.sockets[0].getsockname()[1]), []
            for _ in range(count):
                statuses.append((await client.ask("GET", "/"))[0])
                await asyncio.sleep(0.02)
            client.close()
        return statuses, client

    return asyncio.run(asyncio.wait_for(ask(), 10))


def test_a_request_on_an_idle_connection_that_the_server_had_closed_is_sent_anew(bench):
    statuses, client = asked(bench, [[OK, None], [OK, OK, None]], 3)
    assert statuses == [200, 200, 200]
    assert client.again == 1


@pytest.mark.parametrize("first", [[], [None], [OK[:20], None], [OK[:-1], None]])
def test_a_request_that_a_new_connection_loses_is_lost(bench, first):
    statuses, client = asked(bench, [first, [OK, None]], 2)
    assert statuses == [bench.LOST, 200]
    assert client.again == 0


def test_a_request_is_sent_anew_once_and_not_when_its_answer_had_begun(bench):
    assert asked(bench, [[OK, None], []], 2)[0] == [200, bench.LOST]
    assert asked(bench, [[OK, OK[:-1], None]], 2)[0] == [200, bench.LOST]


def test_lost_are_good_ones_without_detections_broken_ones_with_some_and_any_without_an_answer(bench):
    told = {("good", 200): 900, ("slow", 408): 50, ("hangs up", bench.GONE): 20}
    assert bench.Load(statuses=Counter(told)).lost == 0
    wrong = {("good", 503): 1, ("good", bench.LOST): 2, ("slow", 200): 4, ("slow", bench.LOST): 8}
    assert bench.Load(statuses=Counter(told | wrong)).lost == 15


@pytest.mark.parametrize(
    ("lost", "wrong", "last", "passes"), [(0, 0, 104, True), (0, 0, 106, False), (1, 0, 100, False), (0, 1, 100, False)]
)
def test_endurance_fails_where_a_request_is_lost_or_memory_grows(bench, lost, wrong, last, passes):
    load = bench.Load(statuses=Counter({("good", 200): 9, ("good", bench.LOST): lost}), wrong=wrong)
    memory = {0: 10.0, 2: 100.0, 4: 120.0, 10: float(last)}  # the first request of all takes most
    with nullcontext() if passes else pytest.raises(SystemExit, match="1"):
        bench.judge(load, memory)


class Process:
    """In place of a server's process: tells a port if it `starts`, and ends when it is told to unless it is `deaf`."""

    starts, deaf = True, False

    def __init__(self, target, args):
        self.pipe, self.alive, self.exitcode = args[-1], False, None

    def start(self):
        self.alive = True
        if self.starts:
            self.pipe.send(1)

    def is_alive(self):
        return self.alive

    def terminate(self):
        if not self.deaf:
            self.alive, self.exitcode = False, 0

    def kill(self):
        self.alive, self.exitcode = False, -9

    def join(self, seconds=0):
        """It has ended by then."""


@pytest.mark.parametrize(("starts", "deaf"), [(True, False), (True, True), (False, False)])
def test_a_server_never_stays_behind(bench, monkeypatch, starts, deaf):
    made = []

    class Context:
        @staticmethod
        def Process(**words):  # noqa: N802
            made.append(Process(**words))
            made[0].starts, made[0].deaf = starts, deaf
            return made[0]

    async def ready(port):
        return 200

    monkeypatch.setattr(bench.multiprocessing, "get_context", lambda kind: Context)
    monkeypatch.setattr(bench, "_status", ready)
    with pytest.raises(KeyError if starts else SystemExit), bench.running(None, 1, 0.0):
        raise KeyError
    assert not made[0].alive
