"""The versions of a meter: which of them counts usage of which time, and what a redefinition may change. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Reign:
    """The time in which one version counts: from `start_us` until before `end_us`; None: without bound."""

    definition: Definition
    start_us: int | None
    end_us: int | None


def reigns(meter: Definition) -> Iterator[Reign]:
    """The versions that count some usage, latest time first; together they cover all time, once.

    A usage event is counted by the latest version whose time had begun.
    """
    end_us: int | None = None
    version: Definition | None = meter
    while version is not None:
        start_us = None if version.effective_from is None else epoch_us(version.effective_from)
        yield Reign(version, start_us, end_us)
        end_us, version = start_us, version.before


def succeed(current: Definition, new: Definition, effective_from: datetime | None) -> Definition:
    """What the meter says when `new` counts from `effective_from` on (None: always) in the place of `current`.

    Versions that began at that time or later count nothing any more.
    """
    if effective_from is None:
        return new.alone()
    earlier: Definition | None = current
    while earlier is not None and earlier.effective_from is not None and earlier.effective_from >= effective_from:
        earlier = earlier.before
    return replace(new, effective_from=effective_from, before=earlier)


def require_succession(current: Definition, new: Definition, effective_from: datetime | None) -> None:
    """Raises InvalidInput, naming the field, when `new` cannot count from `effective_from` on beside `current`.

    States of both lie in one meter, so they must merge: the aggregation stays, and groups of old usage are those of new
    usage with "" for what was added. A level would go on in its old group for ever, so its groups stay as they are.
    """
    if effective_from is None:
        return
    if epoch_us(effective_from) % HOUR_US:
        raise InvalidInput(
            "effective_from must be the start of a UTC hour", field="effective_from", reason="NOT_A_WHOLE_HOUR"
        )
    if (new.aggregation, new.percentile) != (current.aggregation, current.percentile):
        field = "meter.percentile" if new.aggregation is current.aggregation else "meter.aggregation"
        raise InvalidInput(
            f"{field} cannot change from a time on; leave effective_from unset, so that all usage is counted anew",
            field=field,
            reason="AGGREGATION_CHANGED",
        )
    if new.group_by[: len(current.group_by)] != current.group_by:
        raise InvalidInput(
            f"meter.group_by must begin with {', '.join(current.group_by)}; add keys behind them, or leave "
            "effective_from unset, so that all usage is counted anew",
            field="meter.group_by",
            reason="GROUP_BY_CHANGED",
        )
    if new.aggregation is AggregationName.WEIGHTED_SUM and new.group_by != current.group_by:
        raise InvalidInput(
            "the groups of levels cannot change from a time on, or old levels would last for ever beside new ones; "
            "leave effective_from unset",
            field="meter.group_by",
            reason="GROUPS_OF_LEVELS",
        )
