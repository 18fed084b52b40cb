"""How far usage is counted, as a value: what is waited for after a new meter, a redefinition or a correction."""

from dataclasses import dataclass, replace
from typing import TypeVar, cast

from meterlog.aggregator.v1 import aggregator_pb2, correction_pb2
from meterlog.client.errors import CallFailed
from meterlog.client.failure import Failure
from meterlog.client.question import Question, usage_question

A = TypeVar("A")

STILL_COUNTING = "STILL_COUNTING"
"""The reason of a failure when what was decided stands, and usage does not say so yet; the failure has its position."""

PAUSE_MIN_S = 0.01
PAUSE_MAX_S = 0.5

_STEPS = {
    aggregator_pb2.COUNTING_STEP_WAITING: "waiting",
    aggregator_pb2.COUNTING_STEP_SEARCHING: "searching",
    aggregator_pb2.COUNTING_STEP_COUNTING: "counting",
}


@dataclass(frozen=True, slots=True)
class Counting:
    """A count of earlier usage; it is over when usage is counted up to `position`.

    `step` is waiting, searching or counting: in it `done` of `total` usage events were looked at, `per_second`, which
    leaves `seconds_left` (None while nothing tells). Another step may follow.
    """

    position: int
    meters: tuple[str, ...]
    corrections: tuple[str, ...]
    backfills: tuple[str, ...]
    step: str
    done: int
    total: int
    per_second: int
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class CountingState:
    """Usage is counted up to `position`, and the log goes to `head_position`; `running` is the count that runs.

    `problem` says why nothing is counted at the moment; empty while all is well.
    """

    position: int
    head_position: int
    running: Counting | None
    problem: str


def counting_state() -> Question[CountingState]:
    """How far usage is counted now."""
    request, response = aggregator_pb2.GetCountingRequest(), aggregator_pb2.GetCountingResponse
    return usage_question("GetCounting", request, response, _state)


def counting_of(
    message: aggregator_pb2.Meter
    | correction_pb2.Correction
    | correction_pb2.Backfill
    | aggregator_pb2.GetCountingResponse,
) -> Counting | None:
    """The count that a message is waited for by; None when usage says already what it says."""
    if not message.HasField("counting"):
        return None
    counting = message.counting
    return Counting(
        position=counting.position,
        meters=tuple(counting.meters),
        corrections=tuple(counting.corrections),
        backfills=tuple(counting.backfills),
        step=_STEPS.get(counting.step, "waiting"),
        done=counting.done_count,
        total=counting.total_count,
        per_second=counting.events_per_second,
        seconds_left=counting.seconds_left if counting.HasField("seconds_left") else None,
    )


def answered(question: Question[A], *, wait: bool) -> Question[A]:
    """The same decision, answered once usage says so, or as soon as it is in the log."""
    request = type(question.request)()
    request.CopyFrom(question.request)
    cast(aggregator_pb2.CreateMeterRequest, request).answer_early = not wait
    return replace(question, request=request)


def still_counting(position: int, state: CountingState, timeout_s: float) -> CallFailed:
    """Nobody waits any longer."""
    why = state.problem or f"it stands at {state.position}"
    message = f"usage is not counted up to position {position} after {timeout_s:.0f} s: {why}; wait again"
    return CallFailed(Failure("DEADLINE_EXCEEDED", message, STILL_COUNTING, position=position))


def _state(answer: aggregator_pb2.GetCountingResponse) -> CountingState:
    return CountingState(answer.position, answer.head_position, counting_of(answer), answer.problem)
