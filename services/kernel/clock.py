"""Where time comes from: the system, or a simulation that only moves when told."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the instant that counts as now, aware and in UTC."""

    def now(self) -> datetime:
        """The instant that counts as now."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The machine's time, UTC."""
        return datetime.now(UTC)


class SimulatedClock:
    """Stands still until it is advanced, and never runs backwards."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._moved = threading.Lock()

    def now(self) -> datetime:
        """The instant last advanced to."""
        return self._now

    def advance(self, to: datetime) -> None:
        """Move to `to`; an earlier instant changes nothing."""
        with self._moved:
            self._now = max(self._now, to)


def epoch_us(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exact."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_epoch_us(microseconds: int) -> datetime:
    """The aware UTC instant of `epoch_us`; raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=microseconds)


def monotonic_s() -> float:
    """Seconds of a clock for measuring waits; says nothing about the date."""
    return time.monotonic()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
