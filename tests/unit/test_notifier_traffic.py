"""Slots are shared fairly: whoever has least under way comes next, and who fails gets out of the way."""

from services.eventstore.event import Position
from services.notifier.traffic import WINDOW_MAX, Demand, Traffic

NOWHERE = Position(0)


def succeed(traffic: Traffic, endpoint: str, times: int = 1) -> None:
    """Let an endpoint prove itself."""
    for number in range(times):
        (key,) = traffic.admit([Demand(endpoint, (f"proof-{number}",))])
        traffic.end(key, NOWHERE, is_success=True)
    traffic.settle(NOWHERE)


def fail(traffic: Traffic, endpoint: str) -> None:
    (key,) = traffic.admit([Demand(endpoint, ("failure",))])
    traffic.end(key, NOWHERE, is_success=False)
    traffic.settle(NOWHERE)


def demand(endpoint: str, count: int = 20) -> Demand:
    return Demand(endpoint, tuple(f"msg-{number}" for number in range(count)))


def endpoints_of(admitted: list[tuple[str, str]]) -> str:
    return "".join(sorted(endpoint for _, endpoint in admitted))


def test_a_window_opens_with_success_and_closes_with_failure() -> None:
    traffic = Traffic(64)
    assert traffic.room("a") == 1
    succeed(traffic, "a", 3)
    assert traffic.room("a") == 4
    succeed(traffic, "a", 10)
    assert traffic.room("a") == WINDOW_MAX
    fail(traffic, "a")
    assert traffic.room("a") == 1


def test_a_window_is_never_overrun() -> None:
    traffic = Traffic(64)
    succeed(traffic, "a", 2)
    assert len(traffic.admit([demand("a")])) == 3
    assert traffic.admit([demand("a")]) == []


def test_messages_begin_in_the_order_in_which_they_are_due() -> None:
    traffic = Traffic(64)
    succeed(traffic, "a", 2)
    assert [message for message, _ in traffic.admit([demand("a")])] == ["msg-0", "msg-1", "msg-2"]


def test_free_slots_go_to_those_with_the_fewest_under_way() -> None:
    traffic = Traffic(6)
    for endpoint in "ab":
        succeed(traffic, endpoint, 8)
    assert endpoints_of(traffic.admit([demand("a")])) == "aaaaaa"
    traffic.end(("msg-0", "a"), NOWHERE, is_success=True)
    traffic.end(("msg-1", "a"), NOWHERE, is_success=True)
    assert endpoints_of(traffic.admit([demand("a"), demand("b")])) == "bb"


def test_a_backlog_does_not_starve_who_has_little() -> None:
    traffic = Traffic(2)
    for endpoint in "abc":
        succeed(traffic, endpoint)
    served = ""
    for _ in range(6):
        admitted = traffic.admit([demand(endpoint) for endpoint in "abc"])
        served += endpoints_of(admitted)
        for key in admitted:
            traffic.end(key, NOWHERE, is_success=True)
        traffic.settle(NOWHERE)
    assert [served.count(endpoint) for endpoint in "abc"] == [4, 4, 4]


def test_endpoints_that_are_not_proven_share_half_of_the_slots() -> None:
    traffic = Traffic(8)
    succeed(traffic, "z", 8)
    assert endpoints_of(traffic.admit([demand(endpoint) for endpoint in "abcdefz"])) == "abcdzzzz"
    assert traffic.admit([demand("e"), demand("z")]) == []


def test_a_single_slot_still_serves_everybody() -> None:
    traffic = Traffic(1)
    (key,) = traffic.admit([demand("a"), demand("b")])
    traffic.end(key, NOWHERE, is_success=False)
    (other,) = traffic.admit([demand("a"), demand("b")])
    assert {key[1], other[1]} == {"a", "b"}


def test_a_message_is_busy_until_its_attempt_is_folded() -> None:
    traffic = Traffic(8)
    (key,) = traffic.admit([Demand("a", ("msg",))])
    traffic.settle(Position(99))
    assert traffic.busy_with("a") == {"msg"}
    traffic.end(key, Position(100), is_success=True)
    traffic.settle(Position(99))
    assert traffic.busy_with("a") == {"msg"}
    traffic.settle(Position(100))
    assert traffic.busy_with("a") == frozenset()
