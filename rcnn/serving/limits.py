"""What a server takes on, and how it says no."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True)
class Limits:
    """Beyond these a request is refused; what is in work never holds more memory than `memory`."""

    body: int = 16 * 2**20
    """Bytes of a request's body."""
    pixels: int = 50_000_000
    """Pixels of a picture, told by its header before any is decoded."""
    pictures: int = 16
    """Pictures of a request."""
    queue: int = 64
    """Pictures of all requests that are not answered yet."""
    memory: int = 2**30
    """Bytes of the bodies and decoded pictures of all requests, also of those that ended while threads hold some."""
    seconds: float = 30.0
    """From the end of a request's body to its answer."""
    upload_seconds: float = 10.0
    """For a request's head, and again for its body."""
    stop_seconds: float = 10.0
    """For what is in work when the server is told to end."""


class RefusedError(Exception):
    """A request that is not served: its HTTP status and one line of why, and when to come back."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class Share:
    """What one request has taken of a ledger: given back when it is closed, but for what is kept until it is let go.

    Threads that work for a request outlive it where the client hangs up or time is up.
    """

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self.pictures = 0
        self.bytes = 0
        self.kept = 0
        """Bytes that stay counted when the request ends."""
        self.closed = False

    def take(self, pictures: int = 0, size: int = 0, kept: int = 0) -> None:
        """So many pictures and bytes more; so many of what it has taken are kept.

        Raises RefusedError where the request (413) or all of them (503) would hold too much, or where it has ended.
        """
        self._ledger.take(self, pictures, size, kept)

    def let_go(self, kept: int) -> None:
        """So many bytes are kept no longer."""
        self._ledger.let_go(self, kept)


class Ledger:
    """What all requests in work hold together: pictures, and bytes of memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._shares: set[int] = set()
        self.pictures = 0
        self.bytes = 0
        self.pace = 0.0
        """Seconds that a picture takes at present."""

    @property
    def empty(self) -> bool:
        """Whether no request is in work."""
        return not self._shares

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What one request holds: closed at the end of this context."""
        share = Share(self)
        self._shares.add(id(share))
        try:
            yield share
        finally:
            with self._lock:
                share.closed = True
                self.pictures -= share.pictures
                self.bytes -= share.bytes - share.kept
                self._shares.discard(id(share))

    def take(self, share: Share, pictures: int, size: int, kept: int) -> None:
        """`Share.take`."""
        with self._lock:
            if share.closed:
                raise RefusedError(504, "the request has ended")
            self._refuse_unfit(share.pictures + pictures, share.bytes + size)
            if pictures:
                self.refuse_full(pictures)
            if self.bytes + size > self._limits.memory:
                raise self._busy(f"requests in work hold {self.bytes:,} bytes, at most {self._limits.memory:,} may be")
            share.pictures += pictures
            share.bytes += size
            share.kept += kept
            self.pictures += pictures
            self.bytes += size

    def let_go(self, share: Share, kept: int) -> None:
        """`Share.let_go`."""
        with self._lock:
            share.kept -= kept
            if share.closed:
                self.bytes -= kept

    def refuse_full(self, pictures: int = 1) -> None:
        """Raise RefusedError where there is no room for so many pictures."""
        if self.pictures + pictures > self._limits.queue:
            raise self._busy(f"{self.pictures} pictures are in work, at most {self._limits.queue} may be")

    def _refuse_unfit(self, pictures: int, size: int) -> None:
        """Raise RefusedError where a request holds more than there ever is room for: to come back later is in vain."""
        for count, most, what in ((pictures, self._limits.queue, "pictures"), (size, self._limits.memory, "bytes")):
            if count > most:
                raise RefusedError(413, f"the request holds {count:,} {what}, at most {most:,} fit in; send fewer")

    def _busy(self, why: str) -> RefusedError:
        return RefusedError(503, f"{why}; come back later", max(1, round(self.pictures * self.pace)))
