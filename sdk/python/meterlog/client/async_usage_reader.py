"""Usage read from an event loop: quantities, totals, running totals as they change, usage events."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from meterlog.client import usage
from meterlog.client.asking import AsyncAsking
from meterlog.client.condition import Condition
from meterlog.client.usage import RecordedUsage, UnmatchedUsage, UsageChange, UsageRow, UsageTotals
from meterlog.client.usage_reader import LIST_TIMEOUT_S, READ_TIMEOUT_S
from meterlog.client.usage_report import UsageReport, usage_report


class AsyncUsageReader:
    """As `UsageReader`: questions are awaited, lists and watches iterated with `async for`."""

    def __init__(self, asking: AsyncAsking) -> None:
        self._asking = asking

    async def query(
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
        """As `UsageReader.query`."""
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
        return tuple([row async for row in self._asking.every(pages, timeout_s)])

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
    ) -> AsyncIterator[UsageChange]:
        """As `UsageReader.watch`."""
        question = usage.watched_usage(meter, start_at, end_at, subjects=subjects, group_by=group_by, filters=filters)
        return self._asking.stream(question, timeout_s)

    async def totals(
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
        return await self._asking.one(usage.usage_totals(subject, meters, start_at, end_at, min_position), timeout_s)

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
    ) -> AsyncIterator[RecordedUsage]:
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

    async def event(
        self,
        source: str,
        id: str,  # noqa: A002 - as above
        *,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> RecordedUsage:
        """One recorded usage event."""
        return await self._asking.one(usage.one_usage_event(source, id), timeout_s)

    def unmatched(self, *, timeout_s: float = READ_TIMEOUT_S) -> AsyncIterator[UnmatchedUsage]:
        """The types of usage events that no meter in use counts."""
        return self._asking.every(usage.unmatched_usage(), timeout_s)

    async def report(self, *, timeout_s: float = READ_TIMEOUT_S) -> UsageReport:
        """As `UsageReader.report`."""
        return await self._asking.one(usage_report(), timeout_s)
