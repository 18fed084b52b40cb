"""Which recorded usage events a correction is about: named one by one, or chosen by a filter."""

from dataclasses import dataclass

from meterlog.aggregator.v1 import correction_pb2 as correction
from services.cli.conditions import typed_conditions
from services.cli.failure import misused
from services.cli.ranges import bound


@dataclass(frozen=True, slots=True)
class Choice:
    """Exactly one of `names` and `filter` is set."""

    names: tuple[correction.UsageName, ...] = ()
    filter: correction.UsageFilter | None = None


@dataclass(frozen=True, slots=True)
class TypedChoice:
    """The options that choose usage events, as they were typed."""

    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    meter: str = ""
    types: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()
    start: str = ""
    end: str = ""
    recorded_from: str = ""
    recorded_until: str = ""
    where: tuple[str, ...] = ()
    zone: str = "UTC"


def choice_of(typed: TypedChoice) -> Choice:
    """What was typed; raises CommandFailed and InvalidInput. Choosing by nothing at all is refused."""
    if typed.ids:
        return Choice(names=_names(typed))
    chosen = correction.UsageFilter(
        meter=typed.meter,
        types=typed.types,
        subjects=typed.customers,
        sources=typed.sources,
        start_at=bound(typed.start, typed.zone, "--from"),
        end_at=bound(typed.end, typed.zone, "--to"),
        recorded_from=bound(typed.recorded_from, typed.zone, "--recorded-from"),
        recorded_until=bound(typed.recorded_until, typed.zone, "--recorded-until"),
        conditions=typed_conditions(typed.where, "--where"),
    )
    if chosen == correction.UsageFilter():
        raise misused("nothing chooses usage events; say --source and --id, or --meter, --type, --customer, --from …")
    return Choice(filter=chosen)


def _names(typed: TypedChoice) -> tuple[correction.UsageName, ...]:
    others = (
        typed.meter,
        typed.types,
        typed.customers,
        typed.start,
        typed.end,
        typed.recorded_from,
        typed.recorded_until,
        typed.where,
    )
    if any(others):
        raise misused("--id names usage events, so only --source goes with it")
    if len(typed.sources) != 1:
        raise misused("--id needs the one --source that these ids are unique in")
    return tuple(correction.UsageName(source=typed.sources[0], id=each) for each in typed.ids)
