"""The API's methods about checks of usage."""

from collections.abc import Callable

from meterlog.aggregator.v1 import storage_pb2 as api
from services.aggregator.check.checking import Checking
from services.aggregator.check.usage_check import Difference, UsageCheck
from services.aggregator.deadline import Deadline
from services.kernel.clock import from_epoch_us
from services.kernel.errors import InvalidInput
from services.kernel.timestamp import to_timestamp

SAMPLES_DEFAULT = 1_000
SAMPLES_MAX = 100_000


class UsageChecks:
    """Runs a check for a caller, and says what all of them found."""

    def __init__(self, checking: Checking, require_leading: Callable[[], None] = lambda: None) -> None:
        """What is found must be known where periods are stated; `require_leading` refuses in other replicas."""
        self._checking = checking
        self._require_leading = require_leading

    def run(self, request: api.CheckUsageRequest, left_s: float) -> api.CheckUsageResponse:
        """One check, for as long as the caller waits."""
        self._require_leading()
        samples, seed = _parse_samples(request), _parse_seed(request.seed)
        deadline = Deadline.after(left_s)
        if request.all:
            return api.CheckUsageResponse(check=_message(self._checking.check_all(seed, deadline)))
        return api.CheckUsageResponse(check=_message(self._checking.check_samples(samples, seed, deadline)))

    def get(self, _request: api.GetUsageCheckRequest) -> api.GetUsageCheckResponse:
        """The last check, and what was found since the start."""
        self._require_leading()
        found = self._checking.found
        return api.GetUsageCheckResponse(
            last=None if found.last is None else _message(found.last),
            checked_count=found.checked_count,
            difference_count=found.difference_count,
        )


def _parse_samples(request: api.CheckUsageRequest) -> int:
    if request.all and request.samples:
        raise InvalidInput(
            f"samples is {request.samples}, and all is set; leave one of them out",
            field="samples",
            reason="SAMPLES_WITH_ALL",
        )
    if not 0 <= request.samples <= SAMPLES_MAX:
        raise InvalidInput(
            f"samples is {request.samples}; it must be 1 to {SAMPLES_MAX}", field="samples", reason="BAD_SAMPLE_COUNT"
        )
    return request.samples or SAMPLES_DEFAULT


def _parse_seed(seed: int) -> int:
    if seed < 0:
        raise InvalidInput(
            f"seed is {seed}; send a number above 0, or none to have it drawn", field="seed", reason="BAD_SEED"
        )
    return seed


def _message(check: UsageCheck) -> api.UsageCheck:
    return api.UsageCheck(
        position=check.position,
        seed=check.seed,
        checked_count=check.checked_count,
        usage_event_count=check.usage_event_count,
        differences=map(_difference_message, check.differences),
        difference_count=check.difference_count,
        started_at=to_timestamp(check.started_at),
        ended_at=to_timestamp(check.ended_at),
    )


def _difference_message(difference: Difference) -> api.UsageDifference:
    return api.UsageDifference(
        meter=difference.key.meter,
        subject=difference.key.subject,
        hour_at=to_timestamp(from_epoch_us(difference.key.hour_us)),
        group=dict(zip(difference.keys, difference.key.group, strict=True)),
        held_value="" if difference.held is None else difference.held.shown(),
        recounted_value="" if difference.recounted is None else difference.recounted.shown(),
    )
