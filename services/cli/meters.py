"""Meters, as the commands read, compare and redefine them."""

from collections.abc import Iterable
from typing import Final

from rich.table import Table

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.client.condition import condition_of, condition_text
from services.cli.connection import Services
from services.cli.instants import timestamp_text
from services.cli.listing import NOTHING, listing
from services.cli.message_document import enum_text
from services.cli.paging import PAGE_SIZE, every_page

REDEFINITION_TIMEOUT_S: Final = 3600.0
"""Usage is counted anew before the call returns."""

_NOT_PART_OF_IT: Final = ("display_name", "unit", "created_at", "archived_at", "version", "effective_from", "counting")


def list_meters(services: Services, *, include_archived: bool) -> list[aggregator.Meter]:
    """Meters, by slug."""

    def fetch(token: str) -> tuple[Iterable[aggregator.Meter], str]:
        request = aggregator.ListMetersRequest(page_size=PAGE_SIZE, page_token=token, include_archived=include_archived)
        response = services.aggregator.call(services.meters.ListMeters, request)
        return response.meters, response.next_page_token

    return list(every_page(fetch))


def is_redefined(declared: aggregator.Meter, current: aggregator.Meter) -> bool:
    """Whether the two count differently; conditions and groups in another order do not."""
    return _definition(declared) != _definition(current)


def redefine_meter(
    services: Services, meter: aggregator.Meter, expected_version: int, *, answer_early: bool = False
) -> aggregator.Meter:
    """Count as the meter says: from its `effective_from` on, or always. The meter as redefined, counted or not yet."""
    definition = aggregator.Meter()
    definition.CopyFrom(meter)
    for name in ("created_at", "archived_at", "version", "effective_from", "counting"):
        definition.ClearField(name)
    request = aggregator.RedefineMeterRequest(
        slug=meter.slug,
        meter=definition,
        effective_from=meter.effective_from if meter.HasField("effective_from") else None,
        expected_version=expected_version,
        answer_early=answer_early,
    )
    return services.aggregator.call(services.meters.RedefineMeter, request, REDEFINITION_TIMEOUT_S).meter


def meters_table(meters: Iterable[aggregator.Meter]) -> Table:
    """One line a meter, or a version of one."""
    rows = [
        (
            meter.slug,
            _counts(meter)
            + ("; archived" if meter.HasField("archived_at") else "")
            + ("; being counted" if meter.HasField("counting") else ""),
            meter.unit,
            str(meter.version or 1),
            timestamp_text(meter.effective_from) if meter.HasField("effective_from") else "always",
        )
        for meter in meters
    ]
    return listing(("meter", "counts", "unit", "version#", "from"), rows)


def changes_table(changes: Iterable[aggregator.MeterChange]) -> Table:
    """The customers whose totals would differ."""
    rows = [
        (
            each.subject,
            each.current_value if each.HasField("current_value") else NOTHING,
            each.new_value if each.HasField("new_value") else NOTHING,
        )
        for each in changes
    ]
    return listing(("customer", "now#", "then#"), rows)


def _counts(meter: aggregator.Meter) -> str:
    conditions = [condition_text(condition_of(each)) for each in meter.filters]
    where = f" where {', '.join(conditions)}" if conditions else ""
    groups = f", by {', '.join(meter.group_by)}" if meter.group_by else ""
    return f"{_aggregation(meter)} in {meter.event_type}{where}{groups}"


def _aggregation(meter: aggregator.Meter) -> str:
    name = enum_text(aggregator.Aggregation.DESCRIPTOR, meter.aggregation)
    percentile = f" {meter.percentile}" if meter.percentile else ""
    of = meter.value_expression or meter.value_property
    return f"{name}{percentile} of {of}" if of else name + percentile


def _definition(meter: aggregator.Meter) -> aggregator.Meter:
    definition = aggregator.Meter()
    definition.CopyFrom(meter)
    for name in _NOT_PART_OF_IT:
        definition.ClearField(name)
    conditions = sorted(definition.filters, key=lambda each: each.SerializeToString(deterministic=True))
    groups = sorted(definition.group_by)
    definition.ClearField("filters")
    definition.ClearField("group_by")
    definition.filters.extend(conditions)
    definition.group_by.extend(groups)
    return definition
