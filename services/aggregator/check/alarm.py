"""What the checks of this process have found: the alarm that stays until what differed is well again."""

import threading
from dataclasses import dataclass

import structlog

from services.aggregator.check.plain_usage import HOUR_US
from services.aggregator.check.sampling import Sample
from services.aggregator.check.usage_check import Difference, UsageCheck
from services.kernel.clock import from_epoch_us

LOGGED_MAX = 100
"""Differences of one check that are logged one by one."""

AGAIN_MAX = 100
"""Samples that differed and are checked again by every later check."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """The last check, and what all of them were; states are counted as often as they were checked."""

    last: UsageCheck | None = None
    checked_count: int = 0
    difference_count: int = 0


class Alarm:
    """Every difference is logged as an error. Any thread may look."""

    def __init__(self) -> None:
        self._found = Found()
        self._differing: tuple[Sample, ...] = ()
        self._position = 0
        self._noting = threading.Lock()

    @property
    def found(self) -> Found:
        """What was found so far."""
        return self._found

    @property
    def differing(self) -> tuple[Sample, ...]:
        """Samples that differed in the last check, at most AGAIN_MAX; the next one looks at them again."""
        return self._differing

    def problem(self) -> str:
        """That states differ from the log; empty when all that differed is well again."""
        if not self._differing:
            return ""
        first = self._differing[0]
        return (
            f"usage is not what the log says: {len(self._differing)} or more states differed at position "
            f'{self._position}, the first of meter "{first.meter}", subject "{first.subject}", hour '
            f"{_hour(first.hour_us)}; GetUsageCheck lists them; rebuild the projection usage_windows"
        )

    def note(self, check: UsageCheck) -> None:
        """Take in a check that has ended. It has looked at `differing` again, so what it does not name is well."""
        with self._noting:
            self._differing = tuple(dict.fromkeys(each.sample for each in check.differences))[:AGAIN_MAX]
            self._position = check.position
            self._found = Found(
                check,
                self._found.checked_count + check.checked_count,
                self._found.difference_count + check.difference_count,
            )
        for difference in check.differences[:LOGGED_MAX]:
            _tell(difference, check)
        log.info(
            "usage checked",
            position=check.position,
            seed=check.seed,
            states=check.checked_count,
            usage_events=check.usage_event_count,
            differences=check.difference_count,
        )


def _tell(difference: Difference, check: UsageCheck) -> None:
    key = difference.key
    log.error(
        "usage check found a difference",
        meter=key.meter,
        subject=key.subject,
        hour=_hour(key.hour_us),
        group=dict(zip(difference.keys, key.group, strict=True)),
        held="" if difference.held is None else difference.held.shown(),
        recounted="" if difference.recounted is None else difference.recounted.shown(),
        position=check.position,
        seed=check.seed,
    )


def _hour(hour_us: int) -> str:
    assert hour_us % HOUR_US == 0, "states are of whole hours"
    return from_epoch_us(hour_us).isoformat()
