"""Reads from the KurrentDB protocol server: streams and the whole log, both ways, filtered; through both clients."""

from collections.abc import Iterator

import pytest
from kurrentdbclient import StreamState
from kurrentdbclient.exceptions import InvalidCommitPositionError, NotFoundError, UnknownError

from tests.kurrentdb_server import KurrentServer
from tests.kurrentdb_server.clients import KINDS, Client, connected, new_events

ANY = StreamState.ANY
EVERYTHING: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def server() -> Iterator[KurrentServer]:
    """100 events in the streams usage-0 and plan-0, of two types each."""
    with KurrentServer() as started:
        with connected(started.url) as client:
            for number in range(50):
                client.append_to_stream("usage-0", events=new_events(f"Usage{number % 2}"), current_version=ANY)
                client.append_to_stream("plan-0", events=new_events(f"Plan{number % 2}"), current_version=ANY)
        yield started


@pytest.fixture(params=KINDS)
def client(server: KurrentServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with connected(server.url, request.param) as connection:
        yield connection


def test_a_stream_is_read_from_any_revision_both_ways(client: Client) -> None:
    def revisions(**choice: object) -> list[int]:
        return [event.stream_position for event in client.get_stream("usage-0", **choice)]

    assert revisions() == list(range(50))
    assert revisions(stream_position=40) == list(range(40, 50))
    assert revisions(stream_position=40, limit=3) == [40, 41, 42]
    assert revisions(stream_position=50) == []
    assert revisions(backwards=True, limit=2) == [49, 48]
    assert revisions(backwards=True, stream_position=1) == [1, 0]
    assert revisions(backwards=True, stream_position=99, limit=1) == [49]


def test_a_stream_that_was_never_appended_to_is_not_found(client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.get_stream("usage-1")


def test_the_log_is_in_order_and_holds_events_of_the_server(client: Client) -> None:
    everything = list(client.read_all(filter_exclude=EVERYTHING))
    positions = [event.commit_position for event in everything]
    assert positions == sorted(set(positions))
    assert {event.stream_name for event in everything if event.stream_name.startswith("$")} == {"$stats-127.0.0.1:2113"}
    mine = [event for event in everything if not event.type.startswith("$")]
    assert [event.stream_name for event in mine] == ["usage-0", "plan-0"] * 50


def test_forwards_begins_at_a_position_and_backwards_before_it(client: Client) -> None:
    mine = list(client.read_all())
    middle = mine[50].commit_position
    assert [event.id for event in client.read_all(commit_position=middle)] == [event.id for event in mine[50:]]
    backwards = list(client.read_all(commit_position=middle, backwards=True))
    assert [event.id for event in backwards] == [event.id for event in reversed(mine[:50])]
    assert [event.id for event in client.read_all(backwards=True, limit=2)] == [mine[99].id, mine[98].id]


def test_the_newest_position_is_that_of_the_newest_event_of_a_client(client: Client) -> None:
    newest = client.get_stream("plan-0", backwards=True, limit=1)[0]
    assert client.get_commit_position() == newest.commit_position


def test_a_position_between_two_records_cannot_be_read_from(client: Client) -> None:
    first = next(iter(client.read_all(limit=1))).commit_position
    with pytest.raises(InvalidCommitPositionError):
        list(client.read_all(commit_position=first + 1))
    with pytest.raises(UnknownError, match="ReadAllResult: InvalidPosition"):
        list(client.read_all(commit_position=first + 1, filter_exclude=EVERYTHING))
    with pytest.raises(InvalidCommitPositionError):
        list(client.read_all(commit_position=10**9, backwards=True))


def test_behind_the_end_there_is_nothing(client: Client) -> None:
    assert list(client.read_all(commit_position=10**9)) == []


@pytest.mark.parametrize(
    ("choice", "streams", "count"),
    [
        ({"filter_include": ["Usage1"]}, {"usage-0"}, 25),
        ({"filter_include": ["Usage.*"]}, {"usage-0"}, 50),
        ({"filter_exclude": [r"\$.+", "Usage0"]}, {"usage-0", "plan-0"}, 75),
        ({"filter_include": ["Pl", "Usage1"], "filter_by_prefix": True}, {"usage-0", "plan-0"}, 75),
        ({"filter_include": ["plan-"], "filter_by_prefix": True, "filter_by_stream_name": True}, {"plan-0"}, 50),
        ({"filter_include": ["plan-.*"], "filter_by_stream_name": True}, {"plan-0"}, 50),
        ({"filter_include": ["nothing"]}, set(), 0),
    ],
)
def test_a_filter_lets_through_what_it_names(
    client: Client, choice: dict[str, object], streams: set[str], count: int
) -> None:
    read = list(client.read_all(**choice))
    assert {event.stream_name for event in read} == streams
    assert len(read) == count


def test_a_limit_counts_what_the_filter_lets_through(client: Client) -> None:
    read = list(client.read_all(filter_include=["Plan1"], limit=7))
    assert [event.stream_position for event in read] == [1, 3, 5, 7, 9, 11, 13]


def test_a_limit_that_fills_a_page_ends_the_read(client: Client) -> None:
    assert len(list(client.read_all(limit=32))) == 32
    assert len(list(client.read_all(limit=64))) == 64
    assert len(client.get_stream("usage-0", limit=32)) == 32
