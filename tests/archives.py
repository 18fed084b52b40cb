"""Logs to be archived, and a log without commits whose positions have gaps, as a KurrentDB has."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from services.eventstore.archive.exporting import SealAt, Span, write_archive
from services.eventstore.archive.lines import LINK_START, Line, spelled
from services.eventstore.archive.parsing import understood
from services.eventstore.archive.sealing import seal_for
from services.eventstore.audit.chain import Commit, merkle_root
from services.eventstore.audit.checkpoint import origin_of, sealed_checkpoint
from services.eventstore.audit.note import SignerKey
from services.eventstore.audit.tree import nodes_of
from services.eventstore.event import ANY_VERSION, BEGINNING, Head, NewEvent, Page, Position, RecordedEvent, StreamName
from services.eventstore.memory import MemoryEventStore
from services.eventstore.store import READ_LIMIT_MAX, EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Conflict

START = datetime(2024, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
STREAMS = (
    StreamName("usage", "0"),
    StreamName("meter", "tökens"),
    StreamName("invoice", "a-b/c"),
    StreamName("q", '"\\'),
)
COMMIT_SIZES = (2, 3, 1, 2, 1, 4, 1)
EVENT_COUNT = sum(COMMIT_SIZES)


def fill(store: EventStore, sizes: Sequence[int] = COMMIT_SIZES, first_id: int = 1) -> None:
    """One commit for each size, over the streams by turns, with payloads of all kinds."""
    ids = iter(range(first_id, first_id + sum(sizes)))
    for turn, size in enumerate(sizes):
        numbers = [next(ids) for _ in range(size)]
        events = [NewEvent(UUID(int=n), "Häppened", 1 + n % 2, bytes(range(n % 7)) * n) for n in numbers]
        store.append(STREAMS[turn % len(STREAMS)], events, ANY_VERSION)


def filled(sizes: Sequence[int] = COMMIT_SIZES, first_id: int = 1) -> MemoryEventStore:
    """A log with commits."""
    store = MemoryEventStore(SimulatedClock(START))
    fill(store, sizes, first_id)
    return store


class PlainLog:
    """A log without commits: it holds what a log with commits holds, at positions with gaps between them."""

    def __init__(self, events: Iterable[RecordedEvent] = ()) -> None:
        self._events: list[RecordedEvent] = []
        self._take(events)

    def head(self) -> Head:
        return Head(self._events[-1].position if self._events else BEGINNING, b"")

    def read_all(self, *, after: Position, limit: int = READ_LIMIT_MAX) -> Page:
        behind = [event for event in self._events if event.position > after]
        events = tuple(behind[:limit])
        end = events[-1].position if len(behind) > len(events) else max(after, self.head().position)
        return Page(events, end, is_last=len(behind) <= len(events))

    def restore(self, events: Sequence[RecordedEvent], commits: Sequence[Commit]) -> None:  # noqa: ARG002 (no commits here)
        for event in events:
            stream = [each for each in self._events if each.stream == event.stream]
            if event.version < len(stream):
                if stream[event.version].leaf != event.leaf:
                    raise Conflict(f"{event.stream} holds something else", reason="LOG_DIFFERS")
                continue
            assert event.version == len(stream), "the origin has no gaps in its streams"
            self._take([event])

    def _take(self, events: Iterable[RecordedEvent]) -> None:
        for event in events:
            self._events.append(replace(event, position=Position(len(self._events) * 64 + 71)))


def all_events(store: EventStore) -> tuple[RecordedEvent, ...]:
    events: list[RecordedEvent] = []
    after, is_last = BEGINNING, False
    while not is_last:
        page = store.read_all(after=after)
        events += page.events
        after, is_last = page.position, page.is_last
    return tuple(events)


def leaves(store: EventStore) -> list[bytes]:
    return [event.leaf for event in all_events(store)]


def plain(store: EventStore) -> PlainLog:
    """The same events in a log without commits."""
    return PlainLog(all_events(store))


def archive_of(store: EventStore | PlainLog, span: Span | None = None, seal_at: SealAt | None = None) -> bytes:
    file = io.BytesIO()
    write_archive(store, span or Span(), file.write, seal_at=seal_at)
    return file.getvalue()


def lines(archive: bytes) -> list[bytes]:
    return archive.splitlines(keepends=True)


def said(archive: bytes) -> list[Line]:
    """What the lines of an archive say."""
    return [understood(line) for line in lines(archive)]


def relinked(said: Iterable[Line]) -> Iterator[bytes]:
    """The lines of a forger, who takes care that all links fit."""
    link = LINK_START
    for line in said:
        content, link = spelled(line, link)
        yield content


SIGNER = SignerKey("example.com/meterlog", bytes(range(32)))
STRANGER = SignerKey("example.com/meterlog", bytes(range(1, 33)))


def sealed_by(key: SignerKey, log: EventStore, size: int | None = None) -> SealAt:
    """Seals archives of a log with a checkpoint of its first `size` events, by default of all."""
    tree = leaves(log)[:size]
    node = nodes_of(tree)
    checkpoint = sealed_checkpoint(origin_of(tree[0]), len(tree), merkle_root(tree), key)
    return lambda edge: seal_for(checkpoint.note, edge, node)
