"""Corrections that are sent at once: each is decided by what the one before it left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from meterlog.aggregator.v1 import correction_pb2 as api
from services.aggregator.corrections.cancellation import cancellation_event
from services.kernel.errors import RuleViolated, TimedOut
from services.rpc.authorization import EVERYBODY
from services.rpc.interceptor import caller_of_call
from tests.aggregator_room import WAIT_S, AggregatorRoom
from tests.corrected_room import ALL_OF_ANN, cancel, cancel_filtered, filled_room, preview, revert

SOON_S = 0.05
WAITED = "other corrections were before"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[AggregatorRoom]:
    with filled_room(tmp_path) as opened:
        yield opened


class Held:
    """A decision that stands between its look at the usage and its append, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: str, decide: Callable[..., Any]) -> None:
        self.looked, self.go_on = Event(), Event()
        self._decide = decide
        self._is_first = True
        monkeypatch.setattr(target, self._held)

    def _held(self, *arguments: Any) -> Any:
        decided = self._decide(*arguments)
        if self._is_first:
            self._is_first = False
            self.looked.set()
            assert self.go_on.wait(WAIT_S)
        return decided

    def start(self, call: Callable[[], Any]) -> Thread:
        """Run a call in a thread of its own until it has looked."""

        def run() -> None:
            caller_of_call.set(EVERYBODY)
            call()

        thread = Thread(target=run, daemon=True)
        thread.start()
        assert self.looked.wait(WAIT_S)
        return thread

    def finish(self, thread: Thread) -> None:
        self.go_on.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch, "services.aggregator.api.corrections.cancellation_event", cancellation_event)


def test_of_two_cancellations_by_one_filter_sent_at_once_one_is_accepted(room: AggregatorRoom, held: Held) -> None:
    seen = preview(room, filter=ALL_OF_ANN)
    wanted: dict[str, Any] = {
        "filter": ALL_OF_ANN,
        "reason": "wrong",
        "expected_count": seen.usage_event_count,
        "until_position": seen.position,
    }
    first = held.start(lambda: cancel(room, "first", **wanted))
    with pytest.raises(TimedOut, match=WAITED):
        room.corrections.cancel(api.CancelUsageRequest(key="second", **wanted), SOON_S)
    held.finish(first)

    with pytest.raises(RuleViolated, match="it would cancel 0 usage events, not 3"):
        cancel(room, "second", **wanted)
    assert [each.key for each in room.corrections.list(api.ListCorrectionsRequest()).corrections] == ["first"]


def test_a_repeat_that_waited_for_the_first_is_answered_as_the_first_was(room: AggregatorRoom, held: Held) -> None:
    """It finds its own key decided, and does not count again what the first made not count."""
    seen = preview(room, filter=ALL_OF_ANN)
    wanted: dict[str, Any] = {
        "filter": ALL_OF_ANN,
        "expected_count": seen.usage_event_count,
        "until_position": seen.position,
    }
    answers: list[api.Correction] = []
    first = held.start(lambda: answers.append(cancel(room, "once", **wanted)))

    def repeat() -> None:
        caller_of_call.set(EVERYBODY)
        answers.append(cancel(room, "once", **wanted))

    second = Thread(target=repeat, daemon=True)
    second.start()
    held.finish(first)
    second.join(WAIT_S)

    assert len(answers) == 2
    assert answers[0] == answers[1]


def test_no_backfill_is_closed_or_reverted_while_a_cancellation_is_decided(room: AggregatorRoom, held: Held) -> None:
    """Backfills take the same turn, because what they replace is what counts."""
    room.backfills.open(api.OpenBackfillRequest(key="b", reason="lost"), WAIT_S)
    first = held.start(lambda: cancel_filtered(room, "first", ALL_OF_ANN))
    for ask in (
        lambda: room.backfills.close(api.CloseBackfillRequest(key="b", reason="complete"), SOON_S),
        lambda: room.backfills.revert(api.RevertBackfillRequest(key="b", reason="wrong"), SOON_S),
    ):
        with pytest.raises(TimedOut, match=WAITED):
            ask()
    held.finish(first)

    assert room.backfills.close(api.CloseBackfillRequest(key="b", reason="complete"), WAIT_S).backfill.key == "b"


def test_a_refusal_gives_the_turn_back(room: AggregatorRoom) -> None:
    for _ in range(2):
        with pytest.raises(RuleViolated):
            cancel(room, "c", filter=ALL_OF_ANN, expected_count=99, until_position=room.store.head().position)
    cancel_filtered(room, "c", ALL_OF_ANN)
    assert revert(room, "c").HasField("reverted")
