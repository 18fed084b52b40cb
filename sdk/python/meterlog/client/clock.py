"""The two clocks of this package: the date for ids and default times, and a steady one for measuring waits."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The machine's time, UTC."""
    return datetime.now(UTC)


def now_ms() -> int:
    """The machine's time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds of a clock that never jumps; says nothing about the date."""
    return time.monotonic()
