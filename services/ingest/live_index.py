"""The dedupe index in use: lent to one thread at a time, swapped for a rebuilt one, dropped when it breaks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from services.eventstore.event import BEGINNING, Position
from services.ingest.dedupe_index import DedupeIndex
from services.ingest.digests import Digests
from services.ingest.index_entries import IndexBroken
from services.kernel.clock import monotonic_s
from services.kernel.errors import Unavailable

LEND_TIMEOUT_S = 20.0
LEND_POLL_S = 0.005

_BUSY = "the dedupe index is busy with a rebuild; send the same again later"


class LiveIndex:
    """Whoever has the index lent is alone with it. An index that raises IndexBroken is closed and dropped at once."""

    def __init__(self, digests: Digests) -> None:
        """`digests` are those of the log; every index that is put in has the same, and any thread may use them."""
        self.digests = digests
        self._lock = threading.Lock()
        self._index: DedupeIndex | None = None
        self._generation = 0
        self._is_caught_up = False
        self._has_broken = False
        self._wake = threading.Event()

    @property
    def generation(self) -> int:
        """Number of the index in use, or last in use."""
        return self._generation

    def position(self) -> Position:
        """Log position up to which the index is folded."""
        index = self._index
        return index.position() if index else BEGINNING

    def is_caught_up(self) -> bool:
        """Whether there is an index that has reached the end of the log."""
        return self._is_caught_up

    def is_there(self) -> bool:
        """Whether there is an index, caught up or not."""
        return self._index is not None

    def has_broken(self) -> bool:
        """Whether the index last in use was dropped because it broke."""
        return self._has_broken

    def is_spill_due(self) -> bool:
        """Whether the next fold takes a while; any thread may ask."""
        index = self._index
        return index is not None and index.is_spill_due()

    def put(self, generation: int, index: DedupeIndex) -> None:
        """Take an index into use that still has to catch up; there must be none."""
        assert self._index is None, "an index is in use"
        self._generation, self._index = generation, index
        self._has_broken = False
        self._wake.clear()

    def set_caught_up(self) -> None:
        """From now on the index is lent to `at_hand`; nothing happens when it is gone by now."""
        with self._held():
            self._is_caught_up = self._index is not None

    def withdraw(self) -> None:
        """Lend the index to `at_hand` no more until `set_caught_up`: the log is not the one that it is of.

        Any thread may say so, whoever has it lent.
        """
        self._is_caught_up = False

    def swap(self, generation: int, index: DedupeIndex) -> None:
        """Replace the index by one folded up to the same checkpoints; only while it is lent to the caller."""
        assert self._index is not None, "the caller has it lent"
        self._index.abandon()
        self._generation, self._index = generation, index

    def close(self) -> None:
        """Close the index in order; safe to repeat. Raises IndexBroken when that fails."""
        with self._held():
            index = self._forget()
            if index is not None:
                index.close()

    def wait(self, timeout_s: float) -> None:
        """Return after `timeout_s`, or as soon as the index is dropped or somebody calls `wake`."""
        self._wake.wait(timeout_s)

    def wake(self) -> None:
        """End a `wait`."""
        self._wake.set()

    @contextmanager
    def lent(self) -> Iterator[DedupeIndex]:
        """The index, caught up or not, for a thread that may wait; raises Unavailable when there is none."""
        with self._held(), self._dropped_when_broken() as index:
            yield index

    @contextmanager
    def lent_caught_up(self) -> Iterator[DedupeIndex]:
        """The caught-up index, for a thread that may wait; raises Unavailable when there is none."""
        with self._held():
            self._require_caught_up()
            with self._dropped_when_broken() as index:
                yield index

    @asynccontextmanager
    async def at_hand(self) -> AsyncIterator[DedupeIndex]:
        """The caught-up index, for the event loop, which must not await while it has it.

        Raises Unavailable when there is none.
        """
        deadline = monotonic_s() + LEND_TIMEOUT_S
        while not self._lock.acquire(blocking=False):
            if monotonic_s() > deadline:
                raise Unavailable(_BUSY)
            await asyncio.sleep(LEND_POLL_S)
        try:
            self._require_caught_up()
            with self._dropped_when_broken() as index:
                yield index
        finally:
            self._lock.release()

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=LEND_TIMEOUT_S):
            raise Unavailable(_BUSY)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _dropped_when_broken(self) -> Iterator[DedupeIndex]:
        if self._index is None:
            raise Unavailable("there is no dedupe index yet; send the same again later")
        try:
            yield self._index
        except IndexBroken:
            self._has_broken = True
            broken = self._forget()
            if broken is not None:
                broken.abandon()
            raise

    def _require_caught_up(self) -> None:
        if not self._is_caught_up:
            raise Unavailable("the dedupe index is catching up with the log; send the same again later")

    def _forget(self) -> DedupeIndex | None:
        index, self._index = self._index, None
        self._is_caught_up = False
        self._wake.set()
        return index
