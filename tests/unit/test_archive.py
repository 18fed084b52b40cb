"""An archive holds a log, or a run of it, so that everything about it can be checked without the log."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.eventstore.archive.exporting import Span, write_archive
from services.eventstore.archive.lines import ArchivedEvent, End, Header, Seal
from services.eventstore.archive.reading import Piece, lines_of, read_archive
from services.eventstore.audit.chain import CHAIN_START, Commit, merkle_root
from services.eventstore.event import BEGINNING, Position
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt, InvalidInput
from tests.archives import (
    COMMIT_SIZES,
    EVENT_COUNT,
    SIGNER,
    START,
    all_events,
    archive_of,
    fill,
    filled,
    leaves,
    lines,
    plain,
    said,
    sealed_by,
)

EMPTY = MemoryEventStore(SimulatedClock(START))


def read(archive: bytes) -> list[Header | Piece | Seal | End]:
    return list(read_archive(lines(archive)))


def events_in(archive: bytes) -> list[object]:
    return [event for part in read(archive) if isinstance(part, Piece) for event in part.events]


def end_of(archive: bytes) -> End:
    (*_, end) = read(archive)
    assert isinstance(end, End)
    return end


def test_an_archive_gives_back_events_and_commits_as_they_were_recorded() -> None:
    log = filled()
    parts = read(archive_of(log))
    assert [event for part in parts if isinstance(part, Piece) for event in part.events] == list(all_events(log))
    assert [part.commit for part in parts if isinstance(part, Piece)] == list(log.read_commits(after=BEGINNING))
    assert parts[0] == Header(has_commits=True, after=BEGINNING, first_ordinal=0, left=(), chain=CHAIN_START)
    head = log.head()
    root = merkle_root(leaves(log))
    assert parts[-1] == End(EVENT_COUNT, len(COMMIT_SIZES), head.position, head.chain, EVENT_COUNT, root)


def test_a_log_without_commits_is_archived_with_its_own_positions() -> None:
    log = plain(filled())
    parts = read(archive_of(log))
    assert tuple(event for part in parts if isinstance(part, Piece) for event in part.events) == all_events(log)
    assert all(part.commit is None for part in parts if isinstance(part, Piece))
    root = merkle_root(leaves(log))
    assert parts[-1] == End(EVENT_COUNT, 0, log.head().position, b"", EVENT_COUNT, root)


def test_the_same_log_gives_the_same_bytes_each_time() -> None:
    assert archive_of(filled()) == archive_of(filled())


def test_an_archive_is_text_that_other_programs_read() -> None:
    first_event = lines(archive_of(filled()))[1].decode()
    assert first_event.startswith(
        '{"kind":"event","ordinal":0,"position":1,"stream":"usage-0","version":0,'
        '"id":"00000000-0000-0000-0000-000000000001","type":"Häppened","schema_version":2,'
        '"recorded_at_us":1706745599999999,"payload":"AA==","leaf":"'
    )


def test_an_empty_log_has_an_archive_too() -> None:
    archive = archive_of(EMPTY)
    assert events_in(archive) == []
    assert end_of(archive) == End(0, 0, BEGINNING, CHAIN_START, 0, merkle_root([]))


@pytest.mark.parametrize(("after", "until", "first", "last"), [(0, 5, 1, 5), (2, 5, 3, 5), (3, 4, 3, 5), (5, 7, 6, 8)])
def test_a_span_is_widened_to_whole_commits(after: int, until: int, first: int, last: int) -> None:
    archive = archive_of(filled(), Span(Position(after), Position(until)))
    assert [event.position for event in events_in(archive)] == list(range(first, last + 1))


@pytest.mark.parametrize("after", [2, 5, 6, 8, 9, 13])
def test_a_later_part_of_a_log_has_the_root_of_the_whole(after: int) -> None:
    log = filled()
    whole, part = end_of(archive_of(log)), end_of(archive_of(log, Span(Position(after))))
    assert (part.root, part.size, part.chain) == (whole.root, whole.size, whole.chain)
    assert part.events == EVENT_COUNT - after


@pytest.mark.parametrize("count", range(EVENT_COUNT + 1))
def test_a_part_of_a_log_without_commits_begins_and_ends_anywhere(count: int) -> None:
    log = plain(filled())
    positions = [event.position for event in all_events(log)]
    after = Span(positions[count - 1] if count else BEGINNING)
    assert [event.position for event in events_in(archive_of(log, after))] == positions[count:]
    assert end_of(archive_of(log, after)).root == merkle_root(leaves(log))
    until = Span(until=positions[count - 1] if count else BEGINNING)
    assert [event.position for event in events_in(archive_of(log, until))] == positions[:count]


def test_a_span_ends_before_a_commit_that_is_not_covered() -> None:
    assert end_of(archive_of(filled(), Span(size_max=7))).size == 6
    assert end_of(archive_of(plain(filled()), Span(size_max=7))).size == 7


def test_nothing_behind_the_head_is_an_archive_of_nothing() -> None:
    log = filled()
    archive = archive_of(log, Span(log.head().position))
    assert events_in(archive) == []
    assert end_of(archive).root == merkle_root(leaves(log))


@pytest.mark.parametrize("span", [Span(until=Position(15)), Span(Position(9), Position(8)), Span(Position(-1))])
def test_what_a_log_does_not_have_cannot_be_archived(span: Span) -> None:
    with pytest.raises(InvalidInput, match="ends at position 14"):
        archive_of(filled(), span)


def test_what_is_written_meanwhile_is_left_to_the_next_archive() -> None:
    log, file = filled(), io.BytesIO()
    write_archive(log, Span(), file.write, progress=lambda _position: fill(log, [1], first_id=900))
    assert end_of(file.getvalue()).events == EVENT_COUNT
    assert len(leaves(log)) > EVENT_COUNT


def forget_payload(log: MemoryEventStore) -> None:
    log._events[5] = replace(log._events[5], payload=b"forged")


def forget_event(log: MemoryEventStore) -> None:
    del log._events[5]


def forget_root(log: MemoryEventStore) -> None:
    log._commits[2] = replace(log._commits[2], root=bytes(32))


def forget_chain(log: MemoryEventStore) -> None:
    log._commits[2] = replace(log._commits[2], chain=bytes(32))


def forget_commit(log: MemoryEventStore) -> None:
    del log._commits[2]


@pytest.mark.parametrize("damage", [forget_payload, forget_event, forget_root, forget_chain, forget_commit])
def test_a_damaged_log_is_not_archived_but_named(damage: Callable[[MemoryEventStore], None]) -> None:
    log, file = filled(), io.BytesIO()
    damage(log)
    with pytest.raises(Corrupt, match="position 6"):
        write_archive(log, Span(), file.write)
    assert not any(isinstance(line, End) for line in said(file.getvalue()))


def test_a_sealed_archive_carries_the_checkpoint_and_what_leads_to_it() -> None:
    log = filled()
    archive = archive_of(log, Span(Position(2), Position(8)), sealed_by(SIGNER, log))
    *_, seal, end = read_archive(lines(archive), [SIGNER.verifier])
    assert isinstance(seal, Seal)
    assert isinstance(end, End)
    assert (end.size, end.events) == (8, 6)
    assert f"\n{EVENT_COUNT}\n" in seal.note


def test_a_seal_of_fewer_events_than_the_archive_has_is_not_written() -> None:
    log = filled()
    with pytest.raises(Corrupt, match="checkpoint is of 8 events"):
        archive_of(log, Span(), sealed_by(SIGNER, log, 8))


def test_a_line_is_as_long_as_the_largest_payload_needs() -> None:
    file = io.BytesIO(archive_of(filled()))
    assert b"".join(lines_of(file)) == file.getvalue()
    assert ArchivedEvent in {type(line) for line in said(file.getvalue())}
    assert Commit in {type(line) for line in said(file.getvalue())}
