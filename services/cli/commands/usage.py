"""`meterlog usage`: quantities by meter, window and group."""

import os
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.commands.usage_events import event, events, report, unmatched
from services.cli.commands.usage_send import send
from services.cli.commands.usage_totals import totals
from services.cli.commands.usage_watch import check, watch
from services.cli.conditions import typed_conditions
from services.cli.connection import connected
from services.cli.ranges import span_of
from services.cli.screen import Screen
from services.cli.usage import UsageQuestion, grouping, meter_slugs, read_usage, usage_document, usage_table
from services.kernel.calendar import Window, time_zone

usage_app = typer.Typer(help="Show usage: quantities, usage events, what no meter counts, and whether it is right.")
usage_app.command("totals")(totals)
usage_app.command("watch")(watch)
usage_app.command("events")(events)
usage_app.command("event")(event)
usage_app.command("unmatched")(unmatched)
usage_app.command("report")(report)
usage_app.command("check")(check)
usage_app.command("send")(send)

Meters = Annotated[list[str] | None, typer.Option("--meter", help="Meter, repeatable; default: all.")]
Customers = Annotated[list[str] | None, typer.Option("--customer", help="Customer's key, repeatable; default: all.")]
Start = Annotated[str, typer.Option("--from", help="First day or instant; default: the start of this month.")]
End = Annotated[str, typer.Option("--to", help="First day or instant after the range; default: this month's end.")]
Windows = Annotated[Window, typer.Option("--window", help="Length of the windows.")]
Zone = Annotated[str, typer.Option("--zone", help="IANA time zone whose days and months are meant.")]
GroupBy = Annotated[
    list[str] | None, typer.Option("--group-by", help='"customer" or a group-by property of the meter, repeatable.')
]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help='Condition on a group-by property, such as "model=large", repeatable.'),
]
Top = Annotated[int, typer.Option("--top", min=0, max=1000, help="Only so many groups, those with the most usage.")]
AsOf = Annotated[int, typer.Option("--as-of", min=0, help="Log position: answer as the log stood there.")]


@usage_app.callback(invoke_without_command=True)
def usage(
    context: typer.Context,
    meter: Meters = None,
    customer: Customers = None,
    start: Start = "",
    end: End = "",
    window: Windows = Window.NONE,
    zone: Zone = "UTC",
    group_by: GroupBy = None,
    filters: Filters = None,
    top: Top = 0,
    as_of: AsOf = 0,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show usage: one line a window and group, one column a meter. Without a command the same as `usage query`."""
    if context.invoked_subcommand is None:
        query(meter, customer, start, end, window, zone, group_by, filters, top, as_of, var, as_json)


@usage_app.command("query")
def query(
    meter: Meters = None,
    customer: Customers = None,
    start: Start = "",
    end: End = "",
    window: Windows = Window.NONE,
    zone: Zone = "UTC",
    group_by: GroupBy = None,
    filters: Filters = None,
    top: Top = 0,
    as_of: AsOf = 0,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show usage: one line a window and group, one column a meter."""
    conditions = tuple(typed_conditions(filters, "--filter"))
    with connected(Path(var), os.environ) as services:
        question = UsageQuestion(
            span=span_of(services, start, end, time_zone(zone, "--zone")),
            customers=tuple(customer or ()),
            window=window,
            zone=zone,
            group_by=grouping(group_by),
            filters=conditions,
            top=top,
            as_of=as_of,
        )
        meters = tuple(meter or meter_slugs(services))
        rows = [row for slug in meters for row in read_usage(services, slug, question)]
    Screen(as_json).answer(usage_document(rows), usage_table(rows, meters, question))
