"""How far usage is counted, between the values of this room and the API's messages."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.corrections.backfill import CATEGORY as BACKFILL
from services.aggregator.corrections.correction import CATEGORY as CORRECTION
from services.aggregator.meters.meter import CATEGORY as METER
from services.aggregator.waiting.counting_progress import Counting, CountingStep
from services.aggregator.waiting.outstanding import Outstanding

_STEPS = {
    CountingStep.WAITING: api.COUNTING_STEP_WAITING,
    CountingStep.SEARCHING: api.COUNTING_STEP_SEARCHING,
    CountingStep.COUNTING: api.COUNTING_STEP_COUNTING,
}


class CountingState:
    """The API's method about what is counted."""

    def __init__(self, outstanding: Outstanding) -> None:
        self._outstanding = outstanding

    def get(self, _request: api.GetCountingRequest) -> api.GetCountingResponse:
        """How far usage is counted; waits for nothing."""
        running, status = self._outstanding.running(), self._outstanding.status()
        return api.GetCountingResponse(
            position=status.position,
            head_position=max(status.position, status.head_position),
            counting=counting_message(running),
            problem=status.stop_reason,
        )


def counting_message(counting: Counting | None) -> api.Counting | None:
    """A count as the API shows it."""
    if counting is None:
        return None
    return api.Counting(
        position=counting.position,
        meters=_names(counting, METER),
        corrections=_names(counting, CORRECTION),
        backfills=_names(counting, BACKFILL),
        step=_STEPS[counting.step],
        done_count=counting.done,
        total_count=counting.total,
        events_per_second=counting.per_second,
        seconds_left=counting.seconds_left,
    )


def _names(counting: Counting, category: str) -> list[str]:
    return [stream.id for stream in counting.streams if stream.category == category]
