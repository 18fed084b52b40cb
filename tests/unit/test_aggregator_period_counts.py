"""Periods are counted for many customers at once, and for few at a time where that would take much memory."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.aggregator.aggregations import percentile
from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.periods import period_counts
from services.aggregator.periods.period import PeriodUsage
from services.aggregator.periods.period_counts import usage_of
from services.aggregator.periods.period_kind import PeriodKind
from services.aggregator.questions import answer as answering
from services.aggregator.snapshot import UsageSnapshot
from services.kernel.calendar import Window
from services.kernel.errors import RuleViolated
from tests.aggregator_room import NOW, WAIT_S, Log, folded
from tests.plain_usage import Event

MEDIAN = Definition("median", "", "call", AggregationName.PERCENTILE, "", (), "", percentile="50")
MONTH = PeriodKind(Window.MONTH, "UTC")
SUBJECTS = [f"customer-{number}" for number in range(9)]


def log_of(numbers: int) -> Log:
    """So many different numbers of each customer, but ten times as many of the second."""
    log = Log()
    log.create([MEDIAN])
    for place, subject in enumerate(SUBJECTS):
        count = numbers * (10 if place == 1 else 1)
        at = datetime(2024, 1, 5, tzinfo=UTC)
        log.record([Event("call", subject, at, Decimal(place * 1_000 + number), {}) for number in range(count)])
    return log


def counted(source: UsageSnapshot) -> list[PeriodUsage]:
    span = MONTH.period_of(datetime(2024, 1, 5, tzinfo=UTC))
    return usage_of(source, MONTH, span, SUBJECTS, NOW, Deadline.after(WAIT_S))


@pytest.mark.parametrize("bound", ["bytes", "numbers"])
def test_a_month_that_does_not_fit_at_once_is_counted_for_some_after_others(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """What counts a month for a thousand customers must end, however many different numbers they have together."""
    with folded(log_of(20)) as read_model:
        at_once = counted(read_model.snapshot)
        monkeypatch.setattr(answering, "MERGE_ROWS", 1)
        if bound == "bytes":
            monkeypatch.setattr(period_counts, "COUNTED_BYTES_MAX", 1_000)
        else:
            monkeypatch.setattr(percentile, "NUMBERS_MAX", 200)
        assert counted(read_model.snapshot) == at_once
        assert [usage.subject for usage in at_once] == SUBJECTS
        assert at_once[1].totals == {"median": "1099"}


def test_one_customer_with_more_than_memory_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with folded(log_of(20)) as read_model:
        monkeypatch.setattr(answering, "MERGE_ROWS", 1)
        monkeypatch.setattr(percentile, "NUMBERS_MAX", 30)
        with pytest.raises(RuleViolated, match="different numbers") as refusal:
            counted(read_model.snapshot)
        assert refusal.value.reason == "TOO_MANY_NUMBERS"
