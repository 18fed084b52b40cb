"""Deadlines that a test lets pass: a short one first, longer ones when the machine did not get there in time."""

from collections.abc import Callable

DEADLINES_S = (0.2, 1.0, 5.0, 25.0)


class TooSlow(AssertionError):
    """The deadline passed before the machine had come to what the test is about; it says nothing about the rest."""


def patiently(scenario: Callable[[float], None]) -> None:
    """Run a scenario, from its beginning, with the first deadline (in seconds) that is long enough for it.

    The scenario raises TooSlow, or calls `in_time`, when the deadline came before its subject. Everything else that
    fails, fails at once. With the longest deadline, being too slow is a failure too.
    """
    for deadline_s in DEADLINES_S:
        try:
            scenario(deadline_s)
        except TooSlow:
            if deadline_s == DEADLINES_S[-1]:
                raise
        else:
            return


def in_time(is_there: bool) -> None:
    """What had to come before the deadline did."""
    if not is_there:
        raise TooSlow("the deadline passed before anything could be seen")
