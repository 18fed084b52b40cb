"""`meterlog usage watch` and `usage check`: running totals as they change, and whether they are right."""

import json
import os
import sys
from typing import Annotated, Final

import typer
from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.aggregator.v1 import storage_pb2 as storage
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.conditions import typed_conditions
from services.cli.connection import connected
from services.cli.failure import ExitCode, misused
from services.cli.instants import timestamp_text
from services.cli.listing import NOTHING, listing, properties_text
from services.cli.message_document import message_document
from services.cli.ranges import span_of
from services.cli.screen import Screen
from services.cli.usage import SUBJECT, grouping, usage_document, usage_row
from services.kernel.calendar import time_zone
from services.kernel.timestamp import to_timestamp

WATCH_S: Final = 24 * 3600.0
CHECK_TIMEOUT_S: Final = 3600.0


def watch(
    meter: Annotated[str, typer.Argument(help="Meter.")],
    customer: Annotated[list[str] | None, typer.Option(help="Customer's key, repeatable; default: all.")] = None,
    start: Annotated[str, typer.Option("--from", help="First day or instant; default: this month's start.")] = "",
    end: Annotated[str, typer.Option("--to", help="First day or instant after; default: this month's end.")] = "",
    zone: Annotated[str, typer.Option(help="IANA time zone whose days are meant.")] = "UTC",
    group_by: Annotated[list[str] | None, typer.Option(help='"customer" or a group-by property, repeatable.')] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help='Condition on a group-by property, such as "model=large".')
    ] = None,
    seconds: Annotated[int, typer.Option(min=0, help="Stop after so long; 0: at Ctrl-C.")] = 0,
    var: Var = DEFAULT_VAR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Show running totals: all at first, then those that change, as they change."""
    with connected(var, os.environ) as services:
        span = span_of(services, start, end, time_zone(zone, "--zone"))
        request = aggregator.WatchUsageRequest(
            meter=meter,
            subjects=customer or (),
            start_at=to_timestamp(span.start),
            end_at=to_timestamp(span.end),
            group_by=grouping(group_by),
            filters=typed_conditions(filters, "--filter"),
        )
        for change in services.aggregator.stream_until(services.meters.WatchUsage, request, seconds or WATCH_S):
            _show(meter, change, as_json)


def check(
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="How many samples are counted anew.")] = 1000,
    every: Annotated[bool, typer.Option("--all", help="Count everything anew.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice, to repeat a check; 0: drawn.")] = 0,
    last: Annotated[
        bool, typer.Option("--last", help="Show what the background checks found, and check nothing.")
    ] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Count usage anew from the log, by another way, and tell every difference. Exit code 1 when there is one."""
    if last and every:
        raise misused("say either --all or --last")
    with connected(var, os.environ) as services:
        if last:
            found = services.aggregator.call(services.storage.GetUsageCheck, storage.GetUsageCheckRequest())
            Screen(as_json).answer(message_document(found), _summary(found))
            differences = found.difference_count
        else:
            request = storage.CheckUsageRequest(samples=0 if every else samples, all=every, seed=seed)
            done = services.aggregator.call(services.storage.CheckUsage, request, CHECK_TIMEOUT_S).check
            Screen(as_json).answer(message_document(done), _checked(done), *_differences(done))
            differences = done.difference_count
    if differences:
        raise typer.Exit(ExitCode.FAILED)


def _show(meter: str, change: aggregator.WatchUsageResponse, as_json: bool) -> None:
    rows = [usage_row(meter, row) for row in change.rows]
    if as_json:
        document = {"position": change.position, "rows": usage_document(rows)}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    for row in rows:
        group = properties_text(("customer" if key == SUBJECT else key, text) for key, text in row.group.items())
        line = " ".join(part for part in (str(change.position), group, row.quantity or NOTHING) if part)
        Screen(as_json).people.print(line, soft_wrap=True)


def _summary(found: storage.GetUsageCheckResponse) -> str:
    text = f"{found.checked_count} states checked since the start, {found.difference_count} differences"
    return f"{text}; last: {_checked(found.last)}" if found.HasField("last") else text


def _checked(done: storage.UsageCheck) -> str:
    return (
        f"{done.checked_count} states checked against {done.usage_event_count} usage events, up to position "
        f"{done.position}, with seed {done.seed}: {done.difference_count or 'no'} differences"
    )


def _differences(done: storage.UsageCheck) -> list[Table]:
    if not done.differences:
        return []
    rows = [
        (
            each.meter,
            each.subject,
            timestamp_text(each.hour_at),
            properties_text(each.group.items()),
            each.held_value or NOTHING,
            each.recounted_value or NOTHING,
        )
        for each in done.differences
    ]
    return [listing(("meter", "customer", "hour", "group", "held#", "counted anew#"), rows)]
