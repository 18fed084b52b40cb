"""Usage read from threads: quantities, totals, running totals, the usage events behind them, and what was refused."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from meterlog.client import usage
from meterlog.client.asking import Asking
from meterlog.client.condition import Condition
from meterlog.client.usage import RecordedUsage, UnmatchedUsage, UsageChange, UsageRow, UsageTotals
from meterlog.client.usage_report import UsageReport, usage_report

READ_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 60.0
"""Usage events that meet a rare condition are looked for in the whole log."""


class UsageReader:
    """Reads what was counted, and what was sent.

    All raise CallFailed, and WrongType or WrongValue for what cannot be asked.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def query(
        self,
        meter: str,
        start_at: datetime,
        end_at: datetime,
        *,
        subjects: Sequence[str] = (),
        window: str = "none",
        time_zone: str = "UTC",
        group_by: Sequence[str] = (),
        filters: Sequence[Condition | str] = (),
        top: int = 0,
        as_of: int = 0,
        min_position: int = 0,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> tuple[UsageRow, ...]:
        """Usage of one meter in [start_at, end_at), by window, then group, fetched page by page.

        `window` is none, minute, hour, day, week, month, quarter or year of the zone's calendar. `filters` are
        conditions on the meter's group-by keys, such as "model=large". `top` keeps so many groups with the greatest
        quantity. `as_of` answers what the log gives up to that position; a result's `position` as `min_position` makes
        the answer cover that usage event.
        """
        pages = usage.usage_rows(
            *(meter, start_at, end_at),
            subjects=subjects,
            window=window,
            time_zone=time_zone,
            group_by=group_by,
            filters=filters,
            top=top,
            as_of=as_of,
            min_position=min_position,
        )
        return tuple(self._asking.every(pages, timeout_s))

    def watch(
        self,
        meter: str,
        start_at: datetime,
        end_at: datetime,
        *,
        subjects: Sequence[str] = (),
        group_by: Sequence[str] = (),
        filters: Sequence[Condition | str] = (),
        timeout_s: float | None = None,
    ) -> Iterator[UsageChange]:
        """All rows at first, then those that change, until the time limit (none by default) or the iterator is closed.

        It ends with CallFailed when the service goes away; ask again to get all rows again first.
        """
        question = usage.watched_usage(meter, start_at, end_at, subjects=subjects, group_by=group_by, filters=filters)
        return self._asking.stream(question, timeout_s)

    def totals(
        self,
        subject: str,
        meters: Sequence[str],
        start_at: datetime,
        end_at: datetime,
        *,
        min_position: int = 0,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> UsageTotals:
        """The totals of several meters for one customer, all counted up to the same position."""
        return self._asking.one(usage.usage_totals(subject, meters, start_at, end_at, min_position), timeout_s)

    def events(
        self,
        *,
        subject: str = "",
        type: str = "",  # noqa: A002 - the attribute's name in CloudEvents and in the contract
        source: str = "",
        meter: str = "",
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        recorded_from: datetime | None = None,
        recorded_until: datetime | None = None,
        conditions: Sequence[Condition | str] = (),
        state: str = "",
        timeout_s: float = LIST_TIMEOUT_S,
    ) -> Iterator[RecordedUsage]:
        """Recorded usage events in the order of the log, page by page; state is counted, amended, cancelled or held."""
        pages = usage.usage_events(
            subject=subject,
            type=type,
            source=source,
            meter=meter,
            start_at=start_at,
            end_at=end_at,
            recorded_from=recorded_from,
            recorded_until=recorded_until,
            conditions=conditions,
            state=state,
        )
        return self._asking.every(pages, timeout_s)

    def event(
        self,
        source: str,
        id: str,  # noqa: A002 - as above
        *,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> RecordedUsage:
        """One recorded usage event."""
        return self._asking.one(usage.one_usage_event(source, id), timeout_s)

    def unmatched(self, *, timeout_s: float = READ_TIMEOUT_S) -> Iterator[UnmatchedUsage]:
        """The types of usage events that no meter in use counts."""
        return self._asking.every(usage.unmatched_usage(), timeout_s)

    def report(self, *, timeout_s: float = READ_TIMEOUT_S) -> UsageReport:
        """What the ingest service was sent since its start, by client, outcome and reason."""
        return self._asking.one(usage_report(), timeout_s)
