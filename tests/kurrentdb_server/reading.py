"""Reads that end: of one stream, or of the whole log."""

from collections.abc import Iterator
from dataclasses import dataclass

from kurrentdbclient.protos.v1 import shared_pb2, streams_pb2

from tests.kurrentdb_server.event_filter import Allowed
from tests.kurrentdb_server.event_log import EventLog
from tests.kurrentdb_server.expectation import Stream
from tests.kurrentdb_server.record import Record
from tests.kurrentdb_server.refusal import stream_deleted, unreadable_position

Response = bytes | streams_pb2.ReadResp
PAGE_MAX = 32


@dataclass(frozen=True, slots=True)
class Scan:
    """One page of the log: what was allowed, where the next page begins, how many were considered."""

    events: list[Record]
    next_index: int
    considered: int
    is_end: bool


def scan(log: EventLog, index: int, events_max: int, window: int, allowed: Allowed) -> Scan:
    """Consider events from `index` on until the page or the window is full, or the log ends."""
    events: list[Record] = []
    start = index
    while len(events) < events_max and index - start < window:
        considered = log.records(index, index + min(events_max - len(events), window - (index - start)))
        if not considered:
            return Scan(events, index, index - start, is_end=True)
        events += [record for record in considered if allowed(record)]
        index += len(considered)
    return Scan(events, index, index - start, is_end=False)


def read_stream(log: EventLog, name: str, revision: int | None, count: int, *, backwards: bool) -> Iterator[Response]:
    """Events of one stream from `revision` on, itself included; None is the start, backwards the end."""
    stream = log.stream(name)
    if stream.is_tombstoned:
        raise stream_deleted(name)
    if not stream.is_readable:
        yield not_found(name)
        return
    for number in _revisions(stream, revision, count, backwards=backwards):
        yield stream.records[number].response


def read_all(log: EventLog, position: int | None, count: int, allowed: Allowed, result: str) -> Iterator[Response]:
    """Events of the log from `position` on, the one there included; None is the start."""
    index = 0 if not position else log.index_of(position)
    if index is None:
        raise unreadable_position(result, position or 0)
    while count > 0:
        page = scan(log, index, PAGE_MAX, PAGE_MAX, allowed)
        for record in page.events[:count]:
            yield record.response
        count -= len(page.events)
        if page.is_end:
            return
        index = page.next_index


def read_all_backwards(
    log: EventLog, position: int | None, count: int, allowed: Allowed, result: str
) -> Iterator[Response]:
    """Events of the log before `position`, the one there left out; None is the end."""
    index = log.length if position is None else log.count_before(position)
    if index is None:
        raise unreadable_position(result, position or 0)
    for number in range(index - 1, -1, -1):
        if count == 0:
            return
        record = log.records(number, number + 1)[0]
        if allowed(record):
            count -= 1
            yield record.response


def not_found(name: str) -> streams_pb2.ReadResp:
    """The answer about a stream that has no events, or none any more."""
    identifier = shared_pb2.StreamIdentifier(stream_name=name.encode())
    return streams_pb2.ReadResp(stream_not_found=streams_pb2.ReadResp.StreamNotFound(stream_identifier=identifier))


def _revisions(stream: Stream, revision: int | None, count: int, *, backwards: bool) -> range:
    first = stream.truncate_before
    if backwards:
        newest = stream.last if revision is None else min(revision, stream.last)
        return range(newest, max(first - 1, newest - count, -1), -1)
    oldest = max(revision or 0, first)
    return range(oldest, min(oldest + count, stream.last + 1))
