"""One check at a time, whoever asks for it: a caller, or the clock."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.aggregator.check.alarm import Alarm, Found
from services.aggregator.check.checker import UsageChecker
from services.aggregator.check.usage_check import UsageCheck
from services.aggregator.deadline import Deadline
from services.kernel.errors import Overloaded

SEED_BITS = 62
USAGE_EVENTS_OF_A_CALL_MAX = 100_000_000
"""Usage events that a check of samples decodes when a caller asks for it; its deadline comes first most often."""


class Checking:
    """Runs checks, and keeps what they found."""

    def __init__(self, checker: UsageChecker) -> None:
        self._checker = checker
        self._alarm = Alarm()
        self._running = threading.Lock()

    @property
    def found(self) -> Found:
        """What all checks of this process have found."""
        return self._alarm.found

    def problem(self) -> str:
        """That states differ from the log; empty when none do, as far as it was checked."""
        return self._alarm.problem()

    def check_samples(
        self, count: int, seed: int, deadline: Deadline, usage_events_max: int = USAGE_EVENTS_OF_A_CALL_MAX
    ) -> UsageCheck:
        """Check about `count` samples, and what differed before; a seed of 0 is drawn.

        Raises Overloaded (CHECK_RUNS) while another check runs, and TimedOut.
        """
        with self._alone():
            again = self._alarm.differing
            check = self._checker.check_samples(count, seed or drawn_seed(), again, deadline, usage_events_max)
            self._alarm.note(check)
            return check

    def check_all(self, seed: int, deadline: Deadline) -> UsageCheck:
        """Check every state; raises as `check_samples` does."""
        with self._alone():
            check = self._checker.check_all(seed, deadline)
            self._alarm.note(check)
            return check

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._running.acquire(blocking=False):
            raise Overloaded("a usage check runs already; repeat when it has ended", reason="CHECK_RUNS")
        try:
            yield
        finally:
            self._running.release()


def drawn_seed() -> int:
    """A seed by chance, above 0."""
    return secrets.randbits(SEED_BITS) + 1
