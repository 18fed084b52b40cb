"""`meterlog usage totals`: the quantities of several meters for one customer, all of one position of the log."""

import os
from typing import Annotated, Final

import typer

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.connection import connected
from services.cli.failure import misused
from services.cli.instants import instant_text
from services.cli.listing import NOTHING, listing
from services.cli.message_document import message_document
from services.cli.ranges import span_of
from services.cli.screen import Screen
from services.cli.usage import meter_slugs
from services.kernel.calendar import time_zone
from services.kernel.timestamp import to_timestamp

METERS_MAX: Final = 100


def totals(
    customer: Annotated[str, typer.Argument(help="Customer's key.")],
    meter: Annotated[list[str] | None, typer.Option(help="Meter, repeatable; default: all.")] = None,
    start: Annotated[str, typer.Option("--from", help="First day or instant; default: this month's start.")] = "",
    end: Annotated[str, typer.Option("--to", help="First day or instant after; default: this month's end.")] = "",
    zone: Annotated[str, typer.Option(help="IANA time zone whose days are meant.")] = "UTC",
    min_position: Annotated[
        int, typer.Option(min=0, help="Log position that must be counted in; it is waited for.")
    ] = 0,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show a customer's totals, one line a meter, all counted up to the same position of the log."""
    with connected(var, os.environ) as services:
        span = span_of(services, start, end, time_zone(zone, "--zone"))
        meters = tuple(meter or meter_slugs(services))
        if not 1 <= len(meters) <= METERS_MAX:
            raise misused(f"{len(meters)} meters; name 1 to {METERS_MAX} with --meter")
        request = aggregator.QueryTotalsRequest(
            subject=customer,
            meters=meters,
            start_at=to_timestamp(span.start),
            end_at=to_timestamp(span.end),
            min_position=min_position,
        )
        found = services.aggregator.call(services.meters.QueryTotals, request)
    title = (
        f"Usage of {customer} from {instant_text(span.start)} to {instant_text(span.end)}, "
        f"counted up to position {found.position}"
    )
    rows = [(each.meter, each.value if each.HasField("value") else NOTHING) for each in found.totals]
    Screen(as_json).answer(message_document(found), title, listing(("meter", "usage#"), rows))
