"""Whatever a log holds and wherever it is cut, its archives give it back, and both verifiers agree about every file."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.verify_archive import NotVerified, Verifier, verdict
from services.eventstore.archive.check import check_archive
from services.eventstore.archive.exporting import Span
from services.eventstore.archive.importing import import_archive
from services.eventstore.archive.lines import ArchivedEvent
from services.eventstore.audit.verify import verify
from services.eventstore.event import ANY_VERSION, NewEvent, StreamName, is_stream_name
from services.eventstore.memory import MemoryEventStore
from services.kernel.clock import SimulatedClock
from tests.archives import (
    SIGNER,
    START,
    PlainLog,
    all_events,
    archive_of,
    leaves,
    lines,
    plain,
    relinked,
    said,
    sealed_by,
)

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
STREAMS = st.builds(StreamName, TEXTS.map(lambda text: text.replace("-", "_")), TEXTS).filter(is_stream_name)
EVENTS = st.builds(
    NewEvent,
    id=st.uuids().map(lambda each: UUID(int=each.int)),
    type=TEXTS,
    schema_version=st.integers(1, 2**31 - 1),
    payload=st.binary(max_size=40),
)
COMMITS = st.lists(st.tuples(STREAMS, st.lists(EVENTS, min_size=1, max_size=4)), max_size=6)
QUICK = settings(max_examples=60, deadline=None)


def log_of(commits: list[tuple[StreamName, list[NewEvent]]]) -> MemoryEventStore:
    store = empty()
    for stream, events in commits:
        store.append(stream, events, ANY_VERSION)
    return store


def empty() -> MemoryEventStore:
    return MemoryEventStore(SimulatedClock(START))


@QUICK
@given(COMMITS, st.booleans(), st.lists(st.integers(0, 24), max_size=3))
def test_parts_sum_to_the_whole(
    commits: list[tuple[StreamName, list[NewEvent]]], has_commits: bool, cuts: list[int]
) -> None:
    log = log_of(commits)
    origin = log if has_commits else plain(log)
    positions = [0, *(event.position for event in all_events(origin))]
    places = sorted({positions[min(cut, len(positions) - 1)] for cut in cuts} | {0, positions[-1]})
    targets = [empty(), PlainLog()]
    for after, until in zip([0, *places], places, strict=False):
        for target in targets:
            import_archive(target, lines(archive_of(origin, Span(after, until))))
    assert [leaves(target) for target in targets] == [leaves(log)] * 2
    assert verify(targets[0]).verified
    assert not has_commits or targets[0].head() == log.head()


@QUICK
@given(COMMITS.filter(bool), st.data())
def test_both_verifiers_agree_about_every_file(
    commits: list[tuple[StreamName, list[NewEvent]]], data: st.DataObject
) -> None:
    log = log_of(commits)
    origin = log if data.draw(st.booleans(), "commits") else plain(log)
    archive = archive_of(origin, seal_at=sealed_by(SIGNER, log))
    keys = [SIGNER.verifier]
    assert check_archive(lines(archive), keys).verified
    assert outsider_agrees(lines(archive))
    told = said(archive)
    forged = list(relinked(data.draw(st.permutations(told), "order")))
    assert check_archive(forged, keys).verified is outsider_agrees(forged) is (forged == lines(archive))
    place = data.draw(st.integers(0, len(archive) - 1), "place")
    changed = bytearray(archive)
    changed[place] = data.draw(st.integers(0, 255), "byte")
    content = lines(bytes(changed))
    assert check_archive(content, keys).verified is outsider_agrees(content) is (bytes(changed) == archive)


def outsider_agrees(content: list[bytes]) -> bool:
    try:
        verdict(Verifier(str(SIGNER.verifier)), content)
    except NotVerified:
        return False
    return True


@QUICK
@given(COMMITS)
def test_every_line_is_spelled_as_it_is_understood(commits: list[tuple[StreamName, list[NewEvent]]]) -> None:
    log = log_of(commits)
    told = said(archive_of(log))
    assert list(relinked(told)) == lines(archive_of(log))
    assert [line.event for line in told if isinstance(line, ArchivedEvent)] == list(all_events(log))
