"""The last net: what fails again stays red, what passes when repeated is green and named."""

from collections.abc import Sequence

import pytest

from tests.steadiness import REPEATS, UNSTEADY_MAX, Run, Verdict, report, verdict

LATE = "tests/unit/test_periods.py::test_a_period_closes[late]"
FAILED = Run(1, {LATE: "assert 1 == 2"})
PASSED = Run(0)


class Runs:
    """Runs that end as was laid down, in order; it keeps what was asked for."""

    def __init__(self, *ends: Run) -> None:
        self._ends = list(ends)
        self.asked: list[Sequence[str]] = []

    def __call__(self, tests: Sequence[str]) -> Run:
        self.asked.append(tests)
        return self._ends.pop(0)


def test_a_suite_that_passes_is_green_and_repeats_nothing() -> None:
    runs = Runs(PASSED)
    assert verdict(runs) == Verdict(0)
    assert runs.asked == [()]


def test_a_test_that_passes_each_time_alone_is_green_and_named() -> None:
    runs = Runs(FAILED, *[PASSED] * REPEATS)
    assert verdict(runs) == Verdict(0, {LATE: "assert 1 == 2"})
    assert runs.asked == [(), *[[LATE]] * REPEATS]


@pytest.mark.parametrize("passes", range(REPEATS))
def test_a_defect_fails_again_and_stays_red(passes: int) -> None:
    assert verdict(Runs(FAILED, *[PASSED] * passes, FAILED)) == Verdict(1)


@pytest.mark.parametrize("code", [2, 3, 4, 5, 124, -11])
def test_a_repeat_that_does_not_end_well_is_no_pass(code: int) -> None:
    assert verdict(Runs(FAILED, PASSED, Run(code))) == Verdict(1)


def test_as_many_failures_as_may_be_accidents_are_repeated_and_one_more_is_not() -> None:
    few = {f"test_{n}": "why" for n in range(UNSTEADY_MAX)}
    assert verdict(Runs(Run(1, few), *[PASSED] * REPEATS)) == Verdict(0, few)
    runs = Runs(Run(1, few | {"one_more": "why"}))
    assert verdict(runs) == Verdict(1)
    assert runs.asked == [()]


@pytest.mark.parametrize("code", [2, 3, 4, 5, 124, -11])
def test_a_run_that_broke_off_is_red_at_once(code: int) -> None:
    runs = Runs(Run(code, FAILED.failures))
    assert verdict(runs) == Verdict(code)
    assert runs.asked == [()]


def test_a_red_run_without_a_failed_test_is_red() -> None:
    assert verdict(Runs(Run(1))) == Verdict(1)


def test_the_report_names_each_unsteady_test_with_its_traceback_and_nothing_else() -> None:
    told = report({LATE: "assert 1 == 2", "b": "Deadline"})
    assert told.count(LATE) == 2
    assert "assert 1 == 2" in told
    assert "Deadline" in told
    assert report({}) == ""
