"""Usage as people and scripts ask for it: several meters side by side, by window and group."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Group
from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.connection import Services
from services.cli.instants import instant_text
from services.cli.paging import PAGE_SIZE, every_page
from services.kernel.calendar import Span, Window
from services.kernel.timestamp import from_timestamp, to_timestamp

Cell = tuple[datetime, tuple[str, ...]]
"""Start of a window, and the values of the groups."""

SUBJECT: Final = "subject"

ROWS_PER_PAGE: Final = 10_000

_WINDOWS = {window: aggregator.Window.Value(f"WINDOW_{window.name}") for window in Window}


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Which usage: of which customers (none named: all), when, in which windows of which zone, by which groups.

    `filters` are conditions on group-by keys, `top` above 0 keeps so many groups, `as_of` above 0 is a log position.
    """

    span: Span
    customers: tuple[str, ...] = ()
    window: Window = Window.NONE
    zone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: tuple[aggregator.UsageCondition, ...] = ()
    top: int = 0
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The quantity of one meter, window and group; None when there is none."""

    meter: str
    span: Span
    group: Mapping[str, str]
    quantity: str | None


def grouping(names: Iterable[str] | None) -> tuple[str, ...]:
    """The group-by keys of the contract for those that people type."""
    return tuple(SUBJECT if name == "customer" else name for name in names or ())


def meter_slugs(services: Services) -> tuple[str, ...]:
    """The meters that are in use, by slug."""

    def fetch(token: str) -> tuple[Iterable[aggregator.Meter], str]:
        request = aggregator.ListMetersRequest(page_size=PAGE_SIZE, page_token=token)
        response = services.aggregator.call(services.meters.ListMeters, request)
        return response.meters, response.next_page_token

    return tuple(meter.slug for meter in every_page(fetch))


def read_usage(services: Services, meter: str, question: UsageQuestion, min_position: int = 0) -> list[UsageRow]:
    """The rows of one meter, by window, then group; at least up to a position of the log."""
    request = aggregator.QueryUsageRequest(
        meter=meter,
        subjects=question.customers,
        start_at=to_timestamp(question.span.start),
        end_at=to_timestamp(question.span.end),
        window=_WINDOWS[question.window],
        time_zone=question.zone,
        group_by=question.group_by,
        min_position=min_position,
        filters=question.filters,
        top=question.top,
        as_of=question.as_of,
        page_size=ROWS_PER_PAGE,
    )

    def fetch(token: str) -> tuple[Iterable[aggregator.UsageRow], str]:
        request.page_token = token
        response = services.aggregator.call(services.meters.QueryUsage, request)
        return response.rows, response.next_page_token

    return [usage_row(meter, row) for row in every_page(fetch)]


def usage_row(meter: str, row: aggregator.UsageRow) -> UsageRow:
    """The row of a message."""
    return UsageRow(
        meter,
        Span(from_timestamp(row.start_at), from_timestamp(row.end_at)),
        dict(row.group),
        row.value if row.HasField("value") else None,
    )


def usage_document(rows: Iterable[UsageRow]) -> list[dict[str, object]]:
    """The rows as documents."""
    return [
        {
            "meter": row.meter,
            "start_at": instant_text(row.span.start),
            "end_at": instant_text(row.span.end),
            "group": dict(row.group),
            "quantity": row.quantity,
        }
        for row in rows
    ]


def usage_table(rows: Sequence[UsageRow], meters: Sequence[str], question: UsageQuestion) -> Group:
    """One line a window and group, one column a meter; the top groups of one meter, greatest first."""
    has_windows = question.window is not Window.NONE
    table = Table()
    if has_windows:
        table.add_column("from")
    for name in question.group_by:
        table.add_column("customer" if name == SUBJECT else name)
    for meter in meters:
        table.add_column(meter, justify="right")
    cells = sorted(_cells(rows, question.group_by).items())
    if question.top and len(meters) == 1 and not has_windows:
        cells.sort(key=lambda cell: Decimal(cell[1][meters[0]] or 0), reverse=True)
    for (start, group), quantities in cells:
        windows = [instant_text(start, ZoneInfo(question.zone))] if has_windows else []
        table.add_row(*windows, *group, *(quantities.get(meter) or "–" for meter in meters))
    return Group(_title(question.span), table)


def _cells(rows: Iterable[UsageRow], group_by: Sequence[str]) -> dict[Cell, dict[str, str | None]]:
    cells: dict[Cell, dict[str, str | None]] = {}
    for row in rows:
        cell = (row.span.start, tuple(row.group.get(name, "") for name in group_by))
        cells.setdefault(cell, {})[row.meter] = row.quantity
    return cells


def _title(span: Span) -> str:
    return f"Usage from {instant_text(span.start)} to {instant_text(span.end)}"
