"""`meterlog usage`: quantities by meter, window and group."""

import os
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from services.cli.clock import read_clock
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import Services, connected
from services.cli.failure import misused
from services.cli.instants import parse_day_or_instant
from services.cli.screen import Screen
from services.cli.usage import SUBJECT, UsageQuestion, meter_slugs, read_usage, usage_document, usage_table
from services.kernel.calendar import Span, Window, month_of, time_zone


def usage(
    meter: Annotated[list[str] | None, typer.Option(help="Meter, repeatable; default: all.")] = None,
    customer: Annotated[list[str] | None, typer.Option(help="Customer's key, repeatable; default: all.")] = None,
    start: Annotated[str, typer.Option("--from", help="First day or instant; default: the start of this month.")] = "",
    end: Annotated[
        str, typer.Option("--to", help="First day or instant after the range; default: the end of this month.")
    ] = "",
    window: Annotated[Window, typer.Option(help="Length of the windows.")] = Window.NONE,
    zone: Annotated[str, typer.Option(help="IANA time zone whose days and months are meant.")] = "UTC",
    group_by: Annotated[
        list[str] | None, typer.Option(help='"customer" or a group-by property of the meter, repeatable.')
    ] = None,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show usage: one line a window and group, one column a meter."""
    screen = Screen(as_json)
    with connected(var, os.environ) as services:
        question = UsageQuestion(
            span=_span(services, start, end, time_zone(zone, "--zone")),
            customers=tuple(customer or ()),
            window=window,
            zone=zone,
            group_by=tuple(SUBJECT if name == "customer" else name for name in group_by or ()),
        )
        meters = tuple(meter or meter_slugs(services))
        rows = [row for slug in meters for row in read_usage(services, slug, question)]
    screen.answer(usage_document(rows), usage_table(rows, meters, question))


def _span(services: Services, start: str, end: str, zone: ZoneInfo) -> Span:
    month = month_of(_now(services), zone) if not (start and end) else None
    span = Span(
        parse_day_or_instant(start, zone, "--from") if start or month is None else month.start,
        parse_day_or_instant(end, zone, "--to") if end or month is None else month.end,
    )
    if span.start >= span.end:
        raise misused("--from must lie before --to")
    return span


def _now(services: Services) -> datetime:
    return read_clock(services.aggregator).now
