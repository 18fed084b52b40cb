"""`meterlog periods`: usage by period, running while it is open, and what was closed and restated."""

import os
from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.instants import instant_text, timestamp_text
from services.cli.listing import NOTHING, count_text, listing
from services.cli.message_document import message_document
from services.cli.periods import list_closed
from services.cli.ranges import bound
from services.cli.screen import Screen
from services.kernel.calendar import time_zone
from services.kernel.timestamp import from_timestamp

periods_app = typer.Typer(help="Show usage by period, list what was closed and restated, or close a period by hand.")

Kind = Annotated[str, typer.Option("--period", help="hour, day, week, month, quarter or year.")]
At = Annotated[str, typer.Option("--at", help="A day or an instant in the period.")]
Zone = Annotated[str, typer.Option("--zone", help="IANA time zone whose calendar the period follows.")]


@periods_app.command("list")
def list_command(
    customer: Annotated[str, typer.Option(help="Only of this customer.")] = "",
    period: Annotated[str, typer.Option(help="Only of this kind: hour, day, week, month, quarter, year.")] = "",
    restated: Annotated[bool, typer.Option("--restated", help="Only those that were restated.")] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """List closed periods, newest first."""
    with connected(var, os.environ) as services:
        found = list(list_closed(services, customer, period, only_restated=restated))
    rows = [
        (
            each.subject,
            f"{each.period} from {_instant(each.start_at, each.time_zone)}",
            "\n".join(f"{meter} {quantity}" for meter, quantity in sorted(each.totals.items())),
            str(len(each.restatements)),
        )
        for each in found
    ]
    table = listing(("customer", "period", "totals", "restated#"), rows)
    Screen(as_json).answer([message_document(each) for each in found], table)


@periods_app.command("show")
def show_command(
    customer: Annotated[str, typer.Argument(help="Customer's key.")],
    period: Kind = "month",
    at: At = "",
    zone: Zone = "UTC",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show a customer's usage in the period that holds an instant (default: now), with what was closed and restated."""
    request = aggregator.GetPeriodUsageRequest(
        subject=customer, period=period, time_zone=zone, at=bound(at, zone, "--at")
    )
    with connected(var, os.environ) as services:
        found = services.aggregator.call(services.meters.GetPeriodUsage, request)
    state = f"closed {timestamp_text(found.closed.closed_at)}" if found.HasField("closed") else "open"
    title = (
        f"{customer}, {period} from {_instant(found.start_at, zone)} to {_instant(found.end_at, zone)}, {state}, "
        f"counted up to position {found.position}"
    )
    closed = dict(found.closed.totals)
    rows = [
        (meter, value, *((closed.get(meter, NOTHING),) if closed else ()))
        for meter, value in sorted(found.totals.items())
    ]
    columns = ("meter", "usage#", "as stated#") if closed else ("meter", "usage#")
    restated = [_restatements(found.closed.restatements)] if found.closed.restatements else []
    Screen(as_json).answer(message_document(found), title, listing(columns, rows), *restated)


@periods_app.command("close")
def close_command(
    at: At,
    period: Kind = "month",
    customer: Annotated[str, typer.Option(help="Customer's key; default: all with usage in the period.")] = "",
    zone: Zone = "UTC",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Close a period now, without waiting for its grace period. Safe to repeat."""
    request = aggregator.ClosePeriodRequest(subject=customer, period=period, time_zone=zone, at=bound(at, zone, "--at"))
    with connected(var, os.environ) as services:
        done = services.aggregator.call(services.meters.ClosePeriod, request)
    already = "was closed already" if done.already_closed_count == 1 else "were closed already"
    text = f"{count_text(done.closed_count, 'period')} closed, {done.already_closed_count} {already}"
    Screen(as_json).answer(message_document(done), text)


def _restatements(restatements: Iterable[aggregator.Restatement]) -> Table:
    rows = [
        (
            str(each.number),
            timestamp_text(each.restated_at),
            total.meter,
            total.old_value if total.HasField("old_value") else NOTHING,
            total.new_value if total.HasField("new_value") else NOTHING,
        )
        for each in restatements
        for total in each.totals
    ]
    return listing(("restated#", "at", "meter", "before#", "then#"), rows)


def _instant(at: Timestamp, zone: str) -> str:
    return instant_text(from_timestamp(at), time_zone(zone or "UTC"))
