"""`meterlog usage events`, `event`, `unmatched` and `report`: usage events as recorded, as unwanted, as they came."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final

import typer
from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.ingest.v1 import ingest_pb2 as ingest
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.conditions import typed_conditions
from services.cli.connection import Services, connected
from services.cli.failure import misused
from services.cli.instants import timestamp_text
from services.cli.listing import listing, properties_text
from services.cli.message_document import enum_text, message_document
from services.cli.paging import PAGE_SIZE, every_page
from services.cli.ranges import bound
from services.cli.screen import Screen

LIMIT: Final = 100

STATES: Final = {
    enum_text(aggregator.UsageState.DESCRIPTOR, number): number for number in aggregator.UsageState.values() if number
}


def events(
    customer: Annotated[str, typer.Option(help="Only of this customer.")] = "",
    type: Annotated[str, typer.Option(help="Only of this type.")] = "",  # noqa: A002 (the option's name)
    source: Annotated[str, typer.Option(help="Only of this source.")] = "",
    meter: Annotated[str, typer.Option(help="Only what this meter counts.")] = "",
    start: Annotated[str, typer.Option("--from", help="Only from this day or instant on.")] = "",
    end: Annotated[str, typer.Option("--to", help="Only before this day or instant.")] = "",
    recorded_from: Annotated[str, typer.Option(help="Only recorded from this day or instant on.")] = "",
    recorded_until: Annotated[str, typer.Option(help="Only recorded before this day or instant.")] = "",
    where: Annotated[
        list[str] | None, typer.Option(help='Condition such as "model=large" or "bytes>=100", repeatable.')
    ] = None,
    state: Annotated[str, typer.Option(help=f"Only in this state: {', '.join(STATES)}.")] = "",
    zone: Annotated[str, typer.Option(help="IANA time zone whose days are meant.")] = "UTC",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = LIMIT,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """List recorded usage events in the order of the log, with what counts of them and why."""
    if state and state not in STATES:
        raise misused(f'--state is "{state}"; write one of {", ".join(STATES)}')
    request = aggregator.ListUsageEventsRequest(
        subject=customer,
        type=type,
        source=source,
        meter=meter,
        start_at=bound(start, zone, "--from"),
        end_at=bound(end, zone, "--to"),
        recorded_from=bound(recorded_from, zone, "--recorded-from"),
        recorded_until=bound(recorded_until, zone, "--recorded-until"),
        conditions=typed_conditions(where, "--where"),
        state=STATES.get(state, aggregator.USAGE_STATE_UNSPECIFIED),
        page_size=min(limit, PAGE_SIZE),
    )
    with connected(var, os.environ) as services:
        found = list(islice(_events(services, request), limit))
    Screen(as_json).answer([message_document(event) for event in found], _events_table(found))


def event(
    source: Annotated[str, typer.Argument(help="Source of the usage event.")],
    id: Annotated[str, typer.Argument(help="Its id.")],  # noqa: A002 (the field's name)
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show one recorded usage event, with what counts of it and why."""
    request = aggregator.GetUsageEventRequest(source=source, id=id)
    with connected(var, os.environ) as services:
        found = services.aggregator.call(services.meters.GetUsageEvent, request).event
    Screen(as_json).answer(message_document(found), _events_table([found]))


def unmatched(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """List the types of usage events that no meter in use counts: perhaps a typing error."""
    with connected(var, os.environ) as services:

        def fetch(token: str) -> tuple[list[aggregator.UnmatchedUsage], str]:
            request = aggregator.ListUnmatchedUsageRequest(page_size=PAGE_SIZE, page_token=token)
            response = services.aggregator.call(services.meters.ListUnmatchedUsage, request)
            return list(response.types), response.next_page_token

        found = list(every_page(fetch))
    rows = [
        (each.type, str(each.usage_event_count), timestamp_text(each.first_at), timestamp_text(each.last_at))
        for each in found
    ]
    table = listing(("type", "usage events#", "first", "last"), rows)
    Screen(as_json).answer([message_document(each) for each in found], table if found else "every type is counted")


def report(var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show what the ingest service was sent since its start, by client, outcome and reason."""
    with connected(var, os.environ) as services:
        found = services.ingest.call(services.recording.GetUsageReport, ingest.GetUsageReportRequest())
    outcome = ingest.UsageOutcome.DESCRIPTOR
    rows = [
        (
            row.client,
            enum_text(outcome, row.outcome) or "request refused",
            row.reason,
            row.field,
            str(row.count),
            row.last_message,
        )
        for row in found.rows
    ]
    table = listing(("client", "outcome", "reason", "field", "count#", "last message"), rows)
    Screen(as_json).answer(message_document(found), f"Since {timestamp_text(found.since)}", table)


def _events(services: Services, request: aggregator.ListUsageEventsRequest) -> Iterator[aggregator.RecordedUsageEvent]:
    def fetch(token: str) -> tuple[list[aggregator.RecordedUsageEvent], str]:
        request.page_token = token
        response = services.aggregator.call(services.meters.ListUsageEvents, request)
        return list(response.events), response.next_page_token

    return every_page(fetch)


def _events_table(found: list[aggregator.RecordedUsageEvent]) -> Table:
    return listing(
        ("time", "customer", "usage event"),
        [(timestamp_text(event.time), event.subject, _event_text(event)) for event in found],
    )


def _event_text(event: aggregator.RecordedUsageEvent) -> str:
    state = enum_text(aggregator.UsageState.DESCRIPTOR, event.state) or "counted"
    by = f" by {', '.join(event.corrections)}" if event.corrections else ""
    return "\n".join(
        (
            f"{event.type} {_was(event.recorded_value, event.value)}, {state}{by}",
            *([properties_text(event.properties.items())] if event.properties else []),
            *([f"recorded: {properties_text(event.recorded_properties.items())}"] if event.recorded_properties else []),
            f"{event.source} {event.id} at position {event.position}",
        )
    )


def _was(recorded: str, value: str) -> str:
    return f"{recorded} → {value}" if recorded and recorded != value else value
