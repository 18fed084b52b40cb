"""Subscriptions to the KurrentDB protocol server: catch up, follow, say how far they looked; through both clients."""

from collections.abc import Iterator
from typing import Any

import pytest
from kurrentdbclient import RecordedEvent, StreamState
from kurrentdbclient.exceptions import GrpcError, StreamIsDeletedError

from tests.kurrentdb_server import EventLog, KurrentServer, Options
from tests.kurrentdb_server.clients import KINDS, Client, connected, new_events

ANY = StreamState.ANY


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer() as started:
        yield started


@pytest.fixture(params=KINDS)
def client(server: KurrentServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with connected(server.url, request.param) as connection:
        yield connection


def append(client: Client, stream: str, *types: str) -> int:
    return client.append_to_stream(stream, events=new_events(*types), current_version=ANY)


def until_caught_up(told: Any) -> list[RecordedEvent]:
    """Everything up to and with the next CaughtUp."""
    seen: list[RecordedEvent] = []
    for event in told:
        seen.append(event)
        if event.is_caught_up:
            return seen
    raise AssertionError("ended before it caught up")


def types(told: list[RecordedEvent]) -> list[str]:
    return [event.type for event in told if not (event.is_caught_up or event.is_checkpoint)]


def test_a_subscription_catches_up_and_goes_on_live(client: Client) -> None:
    append(client, "s-1", *"abc")
    with_progress = client.subscribe_to_all(include_caught_up=True)
    assert types(until_caught_up(with_progress)) == ["a", "b", "c"]
    for name in "defgh":
        append(client, "s-2", name)
        assert next(with_progress).type == name
    with_progress.stop()


def test_a_subscription_begins_behind_its_position(client: Client) -> None:
    append(client, "s-1", "a", "b")
    position = client.get_stream("s-1")[0].commit_position
    told = until_caught_up(client.subscribe_to_all(commit_position=position, include_caught_up=True))
    assert types(told) == ["b"]


def test_a_subscription_from_the_end_tells_only_of_what_follows(client: Client) -> None:
    append(client, "s-1", "a")
    following = client.subscribe_to_all(from_end=True, include_caught_up=True)
    assert types(until_caught_up(following)) == []
    append(client, "s-1", "b")
    assert next(following).type == "b"
    following.stop()


def test_a_position_between_two_records_cannot_be_subscribed_from(client: Client) -> None:
    position = append(client, "s-1", "a")
    append(client, "s-1", "b")
    with pytest.raises(GrpcError, match="invalid position"):
        next(client.subscribe_to_all(commit_position=position + 1, include_caught_up=True))


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_checkpoint_comes_each_time_so_many_events_were_looked_at(client: Client, multiplier: int) -> None:
    append(client, "s-1", *["quiet"] * 100)
    append(client, "s-1", "loud")
    subscription = client.subscribe_to_all(
        filter_include=["loud"],
        window_size=10,
        checkpoint_interval_multiplier=multiplier,
        include_checkpoints=True,
        include_caught_up=True,
    )
    told = until_caught_up(subscription)
    checkpoints = [event.commit_position for event in told if event.is_checkpoint]
    assert types(told) == ["loud"]
    assert len(checkpoints) >= 100 // (10 * multiplier)
    assert checkpoints == sorted(set(checkpoints))


def test_a_checkpoint_may_be_subscribed_from_and_nothing_is_lost(client: Client) -> None:
    append(client, "s-1", *["quiet"] * 45, "loud", *["quiet"] * 45, "loud", "quiet")
    choice: dict[str, Any] = {
        "filter_include": ["loud"],
        "window_size": 10,
        "checkpoint_interval_multiplier": 1,
        "include_checkpoints": True,
        "include_caught_up": True,
    }
    told = until_caught_up(client.subscribe_to_all(**choice))
    for number, place in enumerate(told):
        if place.is_checkpoint or place.is_caught_up:
            again = until_caught_up(client.subscribe_to_all(commit_position=place.commit_position, **choice))
            assert types(again) == types(told[number + 1 :])


def test_checkpoints_go_on_while_following(client: Client) -> None:
    append(client, "s-1", "a")
    subscription = client.subscribe_to_all(
        filter_include=["loud"],
        window_size=5,
        checkpoint_interval_multiplier=1,
        include_checkpoints=True,
        include_caught_up=True,
    )
    until_caught_up(subscription)
    positions = [append(client, "s-1", "quiet") for _ in range(7)]
    checkpoint = next(subscription)
    assert checkpoint.is_checkpoint
    assert checkpoint.commit_position == positions[4]
    subscription.stop()


def test_caught_up_says_where(client: Client) -> None:
    position = append(client, "s-1", "a")
    told = until_caught_up(client.subscribe_to_all(include_caught_up=True))
    assert told[-1].commit_position == position
    assert told[-1].recorded_at is not None


def test_an_old_server_says_only_that_it_caught_up() -> None:
    with KurrentServer(options=Options(caught_up_says_position=False)) as old, connected(old.url) as client:
        append(client, "s-1", "a")
        told = until_caught_up(client.subscribe_to_all(include_caught_up=True))
        assert (told[-1].commit_position, told[-1].recorded_at) == (0, None)


def test_an_empty_log_is_caught_up_with_at_once(client: Client) -> None:
    told = until_caught_up(client.subscribe_to_all(include_caught_up=True))
    assert types(told) == []


def test_a_burst_is_read_again_from_the_log_and_nothing_is_lost(client: Client) -> None:
    subscription = client.subscribe_to_all(include_caught_up=True)
    until_caught_up(subscription)
    append(client, "s-1", *[f"e{number}" for number in range(200)])
    assert types(until_caught_up(subscription)) == [f"e{number}" for number in range(200)]
    subscription.stop()


def test_a_server_may_say_that_it_fell_behind(client: Client) -> None:
    options = Options(says_fell_behind=True, live_buffer_events=4)
    with KurrentServer(options=options) as talkative, connected(talkative.url) as writer:
        first = append(writer, "s-1", "a")
        subscription = writer.subscribe_to_all(include_caught_up=True, include_fell_behind=True)
        until_caught_up(subscription)
        append(writer, "s-1", *["b"] * 50)
        behind = next(subscription)
        assert behind.is_fell_behind
        assert behind.commit_position == first
        assert types(until_caught_up(subscription)) == ["b"] * 50
        subscription.stop()


def test_one_stream_is_followed_from_a_revision(client: Client) -> None:
    append(client, "s-1", *"abc")
    append(client, "s-2", "other")
    subscription = client.subscribe_to_stream("s-1", stream_position=0, include_caught_up=True)
    told = until_caught_up(subscription)
    assert types(told) == ["b", "c"]
    assert told[-1].stream_position == 2
    append(client, "s-2", "other")
    append(client, "s-1", "d")
    assert next(subscription).type == "d"
    subscription.stop()


def test_a_stream_that_does_not_exist_yet_is_waited_for(client: Client) -> None:
    subscription = client.subscribe_to_stream("s-later", include_caught_up=True)
    assert types(until_caught_up(subscription)) == []
    append(client, "s-later", "a")
    assert next(subscription).type == "a"
    subscription.stop()


def test_a_tombstone_ends_the_subscription_to_its_stream(client: Client) -> None:
    append(client, "s-1", "a")
    subscription = client.subscribe_to_stream("s-1", include_caught_up=True)
    until_caught_up(subscription)
    client.tombstone_stream("s-1", current_version=ANY)
    with pytest.raises(StreamIsDeletedError):
        list(subscription)


def test_many_follow_at_once_while_several_append(server: KurrentServer) -> None:
    with connected(server.url) as client:
        followers = [client.subscribe_to_all(include_caught_up=True) for _ in range(40)]
        for follower in followers:
            until_caught_up(follower)
        for number in range(10):
            append(client, f"s-{number}", "a")
        for follower in followers:
            assert [next(follower).stream_name for _ in range(10)] == [f"s-{number}" for number in range(10)]
        for follower in followers:
            follower.stop()


def test_subscriptions_leave_when_their_clients_do() -> None:
    log = EventLog(system_event_every=0)
    with KurrentServer(log=log) as server:
        for _ in range(3):
            with connected(server.url) as client:
                until_caught_up(client.subscribe_to_all(include_caught_up=True))
        with connected(server.url) as client:
            append(client, "s-1", "a")
            assert types(until_caught_up(client.subscribe_to_all(include_caught_up=True))) == ["a"]
