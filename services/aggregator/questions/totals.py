"""The totals of several meters for one subject, all from one snapshot, so that they count up to one log position."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.questions.answer import answer
from services.aggregator.questions.known_then import meter_as_of
from services.aggregator.questions.query import UsageQuery, require_query
from services.aggregator.snapshot import UsageSnapshot
from services.kernel.calendar import Span, Window
from services.kernel.errors import InvalidInput

METERS_MAX = 100

_ANY_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """The quantity of one meter; None when there was no usage and the aggregation has no value for that."""

    meter: str
    value: str | None


def require_meters(slugs: Sequence[str]) -> tuple[str, ...]:
    """`slugs`, when there are 1 to METERS_MAX, each once; raises InvalidInput."""
    if not 1 <= len(slugs) <= METERS_MAX:
        raise InvalidInput(
            f"meters has {len(slugs)} slugs; name 1 to {METERS_MAX}", field="meters", reason="BAD_METER_COUNT"
        )
    for index, slug in enumerate(slugs):
        if slug in slugs[:index]:
            field = f"meters[{index}]"
            raise InvalidInput(f'{field} repeats "{slug[:64]}"; leave it out', field=field, reason="METER_REPEATED")
    return tuple(slugs)


def totals(
    source: UsageSnapshot, meters: Sequence[str], subject: str, span: Span, now: datetime, deadline: Deadline
) -> list[MeterTotal]:
    """One total a meter, in their order, as it stands at `now`; raises NotFound, InvalidInput or TimedOut."""
    queries = [_query(meter_as_of(source, slug, None), subject, span).at(now, None) for slug in meters]
    return [MeterTotal(query.meter.slug, answer(source, query, deadline)[0].value) for query in queries]


def _query(meter: Definition, subject: str, span: Span) -> UsageQuery:
    return require_query(meter, (subject,), span, Window.NONE, _ANY_ZONE, ())
