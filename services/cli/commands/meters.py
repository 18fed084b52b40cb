"""`meterlog meters`: list, create, preview, redefine and archive meters."""

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.commands.counting import Wait, counting_command
from services.cli.commands.options import DEFAULT_VAR, Json, Var
from services.cli.conditions import typed_conditions
from services.cli.connection import Services, connected
from services.cli.counting import wait_until_counted
from services.cli.declared.shapes import AGGREGATIONS
from services.cli.failure import misused
from services.cli.listing import count_text
from services.cli.message_document import message_document
from services.cli.meters import REDEFINITION_TIMEOUT_S, changes_table, list_meters, meters_table, redefine_meter
from services.cli.ranges import bound, span_of
from services.cli.refusal import CallFailed
from services.cli.screen import Screen
from services.kernel.calendar import time_zone
from services.kernel.timestamp import to_timestamp

meters_app = typer.Typer(help="List, create, preview, redefine and archive meters.")
meters_app.command("counting")(counting_command)

Slug = Annotated[str, typer.Argument(help="The meter's slug.")]
EventType = Annotated[str | None, typer.Option("--event-type", help="Type of the usage events that it counts.")]
AggregationName = Annotated[str | None, typer.Option("--aggregation", help=", ".join(AGGREGATIONS) + ".")]
ValueProperty = Annotated[
    str | None, typer.Option("--value-property", help="Property that holds the number; in place of an expression.")
]
ValueExpression = Annotated[
    str | None,
    typer.Option("--value-expression", help='Such as "input_tokens + 3 * output_tokens"; in place of a property.'),
]
Percentile = Annotated[str | None, typer.Option("--percentile", help='Such as "95"; for a percentile.')]
GroupBy = Annotated[list[str] | None, typer.Option("--group-by", help='Property, repeatable; "" for none.')]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", help='Condition such as "model=large", repeatable; "" for none.')
]
Unit = Annotated[str | None, typer.Option("--unit", help="What one is called.")]
DisplayName = Annotated[str | None, typer.Option("--display-name", help="What people call it.")]
From = Annotated[str, typer.Option("--effective-from", help="Hour from which on it counts so; default: always.")]


@meters_app.command("list")
def list_command(
    archived: Annotated[bool, typer.Option("--archived", help="List archived meters, too.")] = False,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """List meters by slug."""
    with connected(var, os.environ) as services:
        found = list_meters(services, include_archived=archived)
    Screen(as_json).answer([message_document(meter) for meter in found], meters_table(found))


@meters_app.command("show")
def show_command(slug: Slug, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Show one meter."""
    with connected(var, os.environ) as services:
        _answer(_get(services, slug), as_json)


@meters_app.command("versions")
def versions_command(slug: Slug, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """List what a meter said over time, oldest version first."""
    with connected(var, os.environ) as services:
        request = aggregator.ListMeterVersionsRequest(slug=slug)
        found = services.aggregator.call(services.meters.ListMeterVersions, request).versions
    Screen(as_json).answer([message_document(meter) for meter in found], meters_table(found))


@meters_app.command("create")
def create_command(
    slug: Slug,
    event_type: EventType = None,
    aggregation: AggregationName = None,
    value_property: ValueProperty = None,
    value_expression: ValueExpression = None,
    percentile: Percentile = None,
    group_by: GroupBy = None,
    filters: Filters = None,
    unit: Unit = None,
    display_name: DisplayName = None,
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Create a meter. It counts all usage of the log, earlier usage included."""
    typed = _Typed(event_type, aggregation, value_property, value_expression, percentile, group_by, filters, unit)
    request = aggregator.CreateMeterRequest(
        meter=typed.over(aggregator.Meter(slug=slug, display_name=display_name or "")), answer_early=True
    )
    with connected(var, os.environ) as services:
        created = services.aggregator.call(services.meters.CreateMeter, request, REDEFINITION_TIMEOUT_S).meter
        created = _settled(services, created, Screen(as_json)) if wait else created
    _answer(created, as_json)


@meters_app.command("preview")
def preview_command(
    slug: Slug,
    event_type: EventType = None,
    aggregation: AggregationName = None,
    value_property: ValueProperty = None,
    value_expression: ValueExpression = None,
    percentile: Percentile = None,
    group_by: GroupBy = None,
    filters: Filters = None,
    effective_from: From = "",
    start: Annotated[str, typer.Option("--from", help="First day or instant; default: this month's start.")] = "",
    end: Annotated[str, typer.Option("--to", help="First day or instant after; default: this month's end.")] = "",
    customer: Annotated[list[str] | None, typer.Option(help="Customer's key, repeatable; default: all.")] = None,
    zone: Annotated[str, typer.Option(help="IANA time zone whose days are meant.")] = "UTC",
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Show what a meter, new or changed as said, would say of past usage, beside what it says now. Writes nothing."""
    typed = _Typed(event_type, aggregation, value_property, value_expression, percentile, group_by, filters, None)
    with connected(var, os.environ) as services:
        span = span_of(services, start, end, time_zone(zone, "--zone"))
        request = aggregator.PreviewMeterRequest(
            meter=typed.over(_current_or_new(services, slug)),
            effective_from=bound(effective_from, zone, "--effective-from"),
            start_at=to_timestamp(span.start),
            end_at=to_timestamp(span.end),
            subjects=customer or (),
        )
        found = services.aggregator.call(services.meters.PreviewMeter, request, REDEFINITION_TIMEOUT_S)
    text = (
        f"{found.counted_count} of {count_text(found.usage_event_count, 'usage event')} would be counted, "
        f"{found.unreadable_count} without a number, {count_text(found.group_count, 'group')}; "
        f"the totals of {count_text(found.changed_subject_count, 'customer')} would differ"
    )
    Screen(as_json).answer(message_document(found), text, *([changes_table(found.changes)] if found.changes else []))


@meters_app.command("redefine")
def redefine_command(
    slug: Slug,
    event_type: EventType = None,
    aggregation: AggregationName = None,
    value_property: ValueProperty = None,
    value_expression: ValueExpression = None,
    percentile: Percentile = None,
    group_by: GroupBy = None,
    filters: Filters = None,
    effective_from: From = "",
    expected_version: Annotated[int, typer.Option(min=0, help="Version that you saw; default: the current.")] = 0,
    zone: Annotated[str, typer.Option(help="IANA time zone whose days are meant.")] = "UTC",
    wait: Wait = True,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Change what a meter counts, from a time on or always; what is not said stays. `preview` shows what changes."""
    typed = _Typed(event_type, aggregation, value_property, value_expression, percentile, group_by, filters, None)
    if typed == _Typed():
        raise misused("say what changes, such as --filter or --value-expression")
    with connected(var, os.environ) as services:
        current = _get(services, slug)
        changed = typed.over(current)
        changed.ClearField("effective_from")
        if (first := bound(effective_from, zone, "--effective-from")) is not None:
            changed.effective_from.CopyFrom(first)
        redefined = redefine_meter(services, changed, expected_version or current.version, answer_early=True)
        redefined = _settled(services, redefined, Screen(as_json)) if wait else redefined
    _answer(redefined, as_json)


@meters_app.command("update")
def update_command(
    slug: Slug,
    display_name: DisplayName = None,
    unit: Unit = None,
    var: Var = DEFAULT_VAR,
    as_json: Json = False,
) -> None:
    """Change what people read about a meter: name and unit. Nothing is counted anew."""
    if display_name is None and unit is None:
        raise misused("say what changes: --display-name or --unit")
    with connected(var, os.environ) as services:
        request = aggregator.UpdateMeterRequest(slug=slug, display_name=display_name, unit=unit)
        updated = services.aggregator.call(services.meters.UpdateMeter, request).meter
    _answer(updated, as_json)


@meters_app.command("archive")
def archive_command(slug: Slug, var: Var = DEFAULT_VAR, as_json: Json = False) -> None:
    """Archive a meter: its usage stays readable, no new plan can name it. Safe to repeat."""
    with connected(var, os.environ) as services:
        request = aggregator.ArchiveMeterRequest(slug=slug)
        archived = services.aggregator.call(services.meters.ArchiveMeter, request).meter
    _answer(archived, as_json)


@dataclass(frozen=True, slots=True)
class _Typed:
    """The parts of a definition that were typed; None for what was not."""

    event_type: str | None = None
    aggregation: str | None = None
    value_property: str | None = None
    value_expression: str | None = None
    percentile: str | None = None
    group_by: list[str] | None = None
    filters: list[str] | None = None
    unit: str | None = None

    def over(self, meter: aggregator.Meter) -> aggregator.Meter:
        """The meter with what was typed, expression and property in each other's place; raises CommandFailed."""
        changed = aggregator.Meter()
        changed.CopyFrom(meter)
        for name in ("event_type", "value_property", "value_expression", "percentile", "unit"):
            if (text := getattr(self, name)) is not None:
                setattr(changed, name, text)
        if self.value_expression and self.value_property is None:
            changed.value_property = ""
        if self.value_property and self.value_expression is None:
            changed.value_expression = ""
        if self.aggregation is not None:
            changed.aggregation = _aggregation(self.aggregation)
        if self.group_by is not None:
            changed.ClearField("group_by")
            changed.group_by.extend(name for name in self.group_by if name)
        if self.filters is not None:
            changed.ClearField("filters")
            changed.filters.extend(typed_conditions([text for text in self.filters if text], "--filter"))
        return changed


def _aggregation(name: str) -> aggregator.Aggregation.ValueType:
    if name not in AGGREGATIONS:
        raise misused(f'--aggregation is "{name[:60]}"; write one of {", ".join(AGGREGATIONS)}')
    return AGGREGATIONS[name]


def _get(services: Services, slug: str) -> aggregator.Meter:
    return services.aggregator.call(services.meters.GetMeter, aggregator.GetMeterRequest(slug=slug)).meter


def _settled(services: Services, meter: aggregator.Meter, screen: Screen) -> aggregator.Meter:
    """The meter once its usage is counted."""
    if not meter.HasField("counting"):
        return meter
    wait_until_counted(services, meter.counting.position, screen)
    return _get(services, meter.slug)


def _current_or_new(services: Services, slug: str) -> aggregator.Meter:
    try:
        return _get(services, slug)
    except CallFailed as failed:
        if failed.code.name != "NOT_FOUND":
            raise
        return aggregator.Meter(slug=slug)


def _answer(meter: aggregator.Meter, as_json: bool) -> None:
    Screen(as_json).answer(message_document(meter), meters_table([meter]))
