"""Appends to the KurrentDB protocol server: versions, repeats, sizes; through both clients as they come."""

import sys
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest
from kurrentdbclient import NewEvent, StreamState
from kurrentdbclient.exceptions import (
    BadRequestError,
    ExceptionThrownByHandlerError,
    GrpcError,
    KurrentDBClientError,
    MaximumAppendSizeExceededError,
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

from tests.kurrentdb_server import EventLog, KurrentServer, Options
from tests.kurrentdb_server.clients import KINDS, Client, connected, new_events
from tests.kurrentdb_server.expectation import ANY as ANYTHING
from tests.kurrentdb_server.recent_ids import RecentIds
from tests.kurrentdb_server.record import Proposed

ANY, NO_STREAM, EXISTS = StreamState.ANY, StreamState.NO_STREAM, StreamState.EXISTS


@pytest.fixture(scope="module")
def server() -> Iterator[KurrentServer]:
    with KurrentServer() as started:
        yield started


@pytest.fixture(params=KINDS)
def client(server: KurrentServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with connected(server.url, request.param) as connection:
        yield connection


@pytest.fixture
def stream(request: pytest.FixtureRequest) -> str:
    """A stream of the test's own."""
    return f"test-{request.node.name}"


def test_an_event_comes_back_as_it_was_sent(client: Client, stream: str) -> None:
    sent = NewEvent(type="Größe.v1", data=b"\x00\xff\x80", metadata=b"{}", content_type="application/octet-stream")
    position = client.append_to_stream(stream, events=[sent], current_version=NO_STREAM)
    (read,) = client.get_stream(stream)
    assert (read.id, read.type, read.data, read.metadata) == (sent.id, "Größe.v1", b"\x00\xff\x80", b"{}")
    assert (read.content_type, read.stream_position) == ("application/octet-stream", 0)
    assert (read.commit_position, read.prepare_position) == (position, position)
    assert read.recorded_at is not None
    assert read.recorded_at.year >= 2026


def test_revisions_have_no_gaps_and_positions_have_some(client: Client, stream: str) -> None:
    client.append_to_stream(stream, events=new_events("a", "b"), current_version=NO_STREAM)
    client.append_to_stream(stream, events=new_events("c"), current_version=1)
    read = client.get_stream(stream)
    assert [event.stream_position for event in read] == [0, 1, 2]
    assert read[0].commit_position + 1 < read[1].commit_position < read[2].commit_position - 1


@pytest.mark.parametrize("is_single", [True, False])
@pytest.mark.parametrize(("expected", "actual"), [(NO_STREAM, 0), (7, 0)])
def test_another_version_than_expected_is_refused(
    client: Client, stream: str, expected: int | StreamState, actual: int, *, is_single: bool
) -> None:
    client.append_to_stream(stream, events=new_events("a"), current_version=NO_STREAM)
    (event,) = new_events("b")
    with pytest.raises(WrongCurrentVersionError) as refused:
        client.append_to_stream(stream, events=event if is_single else [event], current_version=expected)
    assert (refused.value.actual_version, refused.value.expected_version) == (actual, expected)
    assert len(client.get_stream(stream)) == 1


@pytest.mark.parametrize("expected", [0, EXISTS])
@pytest.mark.parametrize("is_single", [True, False])
def test_a_stream_that_does_not_exist_is_at_no_version(
    client: Client, stream: str, expected: int | StreamState, *, is_single: bool
) -> None:
    (event,) = new_events("a")
    with pytest.raises(WrongCurrentVersionError) as refused:
        client.append_to_stream(stream, events=event if is_single else [event], current_version=expected)
    assert refused.value.actual_version is NO_STREAM


@pytest.mark.parametrize("is_single", [True, False])
def test_a_repeat_at_the_exact_version_is_answered_like_the_first_time(
    client: Client, stream: str, *, is_single: bool
) -> None:
    first, later = new_events("a"), new_events("b")
    sent: NewEvent | list[NewEvent] = first[0] if is_single else first
    position = client.append_to_stream(stream, events=sent, current_version=NO_STREAM)
    client.append_to_stream(stream, events=later, current_version=0)
    assert client.append_to_stream(stream, events=sent, current_version=NO_STREAM) == position
    assert len(client.get_stream(stream)) == 2


def test_a_repeat_that_was_cut_anew_is_refused(client: Client, stream: str) -> None:
    written = new_events("a", "b")
    client.append_to_stream(stream, events=written, current_version=NO_STREAM)
    for cut in (written[:1] + new_events("c"), new_events("c") + written[1:], written + new_events("c")):
        with pytest.raises(WrongCurrentVersionError):
            client.append_to_stream(stream, events=cut, current_version=NO_STREAM)
    assert client.append_to_stream(stream, events=written[:1], current_version=NO_STREAM) > 0
    assert len(client.get_stream(stream)) == 2


@pytest.mark.parametrize("expected", [ANY, EXISTS])
def test_without_a_version_a_repeat_is_known_only_while_it_is_remembered(expected: StreamState) -> None:
    with KurrentServer() as forgetful, connected(forgetful.url) as client:
        client.append_to_stream("s-1", events=new_events("first"), current_version=ANY)
        events = new_events("a", "b")
        position = client.append_to_stream("s-1", events=events, current_version=expected)
        assert client.append_to_stream("s-1", events=events, current_version=expected) == position
        with pytest.raises(WrongCurrentVersionError):
            client.append_to_stream("s-1", events=events + new_events("c"), current_version=expected)
        forgetful.stop()
        forgetful.start()
        assert client.append_to_stream("s-1", events=events, current_version=expected) > position
        assert len(client.get_stream("s-1")) == 5


def test_a_small_memory_forgets_the_oldest_ids_first() -> None:
    options = Options(recent_ids_bytes=2 * (28 + len("s-1")))
    with KurrentServer(options=options) as forgetful, connected(forgetful.url) as client:
        old, newer, newest = (new_events(name) for name in "abc")
        positions = [client.append_to_stream("s-1", events=one, current_version=ANY) for one in (old, newer, newest)]
        assert client.append_to_stream("s-1", events=newest, current_version=ANY) == positions[2]
        assert client.append_to_stream("s-1", events=old, current_version=ANY) > positions[2]


def test_of_many_who_expect_the_same_version_one_wins(server: KurrentServer) -> None:
    answers: list[object] = []

    def compete() -> None:
        with connected(server.url) as one:
            try:
                answers.append(one.append_to_stream("s-raced", events=new_events("a", "b"), current_version=NO_STREAM))
            except WrongCurrentVersionError as refused:
                answers.append(refused.actual_version)

    threads = [threading.Thread(target=compete, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, answers))[:7] == ["1"] * 7
    assert (len(answers), server.log.stream("s-raced").count) == (8, 2)


def test_nobody_ever_sees_a_part_of_an_append() -> None:
    log = EventLog(system_event_every=0)
    before = log.length
    seen: list[int] = []

    def look(_frame: object, _kind: str, _argument: object) -> object:
        """What another thread would see at this line of the append."""
        seen.append(log.length - before)
        return look

    earlier = sys.gettrace()
    sys.settrace(look)
    try:
        log.append("s-1", ANYTHING, [Proposed(uuid4(), "a", False, b"", b"") for _ in range(5)], RecentIds())
    finally:
        sys.settrace(earlier)
    assert set(seen) == {0, 5}
    assert len(seen) > 50


def test_an_id_of_another_stream_is_no_repeat(client: Client, stream: str) -> None:
    events = new_events("a")
    first = client.append_to_stream(f"{stream}-1", events=events, current_version=ANY)
    assert client.append_to_stream(f"{stream}-2", events=events, current_version=ANY) > first


@pytest.mark.parametrize("is_single", [True, False])
def test_an_append_counts_bodies_and_types_up_to_the_limit(*, is_single: bool) -> None:
    with KurrentServer(options=Options(append_bytes_max=100)) as small, connected(small.url) as client:
        fits = NewEvent(type="four", data=b"x" * 52, metadata=b"y" * 40)
        large = NewEvent(type="four", data=b"x" * 53, metadata=b"y" * 40)
        assert client.append_to_stream("s-1", events=[fits], current_version=ANY) > 0
        with pytest.raises(GrpcError if is_single else MaximumAppendSizeExceededError) as refused:
            client.append_to_stream("s-1", events=large if is_single else [large], current_version=ANY)
        assert "100" in str(refused.value)
        assert len(client.get_stream("s-1")) == 1


def test_one_event_over_its_own_limit_is_refused() -> None:
    with KurrentServer(options=Options(event_bytes_max=10)) as small, connected(small.url) as client:
        with pytest.raises(KurrentDBClientError, match="MaximumAppendEventSizeExceeded"):
            client.append_to_stream("s-1", events=new_events("a", "a", body=b"x" * 9), current_version=ANY)
        assert client.append_to_stream("s-1", events=new_events("a", "a", body=b"x" * 8), current_version=ANY) > 0


def test_an_event_without_a_type_is_refused(server: KurrentServer) -> None:
    with connected(server.url) as client:
        with pytest.raises(BadRequestError, match="eventType"):
            client.append_to_stream("s-typeless", events=new_events(""), current_version=ANY)
        with pytest.raises(ExceptionThrownByHandlerError):
            client.append_to_stream("s-typeless", events=new_events("")[0], current_version=ANY)


def test_a_stream_that_was_deleted_reads_as_missing_and_goes_on_at_the_next_revision(
    client: Client, stream: str
) -> None:
    client.append_to_stream(stream, events=new_events("a", "b"), current_version=NO_STREAM)
    client.delete_stream(stream, current_version=1)
    with pytest.raises(NotFoundError):
        client.get_stream(stream)
    with pytest.raises(StreamIsDeletedError):
        client.append_to_stream(stream, events=new_events("x"), current_version=EXISTS)
    client.append_to_stream(stream, events=new_events("c"), current_version=NO_STREAM)
    assert [event.stream_position for event in client.get_stream(stream)] == [2]


def test_a_tombstone_is_for_good(client: Client, stream: str) -> None:
    client.append_to_stream(stream, events=new_events("a"), current_version=NO_STREAM)
    client.tombstone_stream(stream, current_version=0)
    for again in (lambda: client.get_stream(stream), lambda: client.tombstone_stream(stream, current_version=ANY)):
        with pytest.raises(Exception, match="is deleted"):
            again()
    with pytest.raises(StreamIsDeletedError):
        client.append_to_stream(stream, events=new_events("b"), current_version=ANY)


def test_a_deletion_at_another_version_is_refused(client: Client, stream: str) -> None:
    with pytest.raises(NotFoundError):
        client.delete_stream(stream, current_version=0)
    client.append_to_stream(stream, events=new_events("a"), current_version=NO_STREAM)
    with pytest.raises(WrongCurrentVersionError):
        client.delete_stream(stream, current_version=3)
