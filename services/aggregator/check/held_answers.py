"""What the aggregator answers for meters of which no hour keeps a state."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import product
from zoneinfo import ZoneInfo

from services.aggregator.check.plain_meter import PlainMeter
from services.aggregator.check.plain_usage import units
from services.aggregator.check.state import State, StateKey
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import SUBJECT_KEY
from services.aggregator.questions.answer import PAGED_ROWS_MAX, full_answer
from services.aggregator.questions.known_then import meter_as_of
from services.aggregator.questions.query import SUBJECTS_MAX, UsageRow, require_query
from services.aggregator.snapshot import UsageSnapshot
from services.kernel.calendar import Span, Window
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.quantity import parse_decimal

_UTC = ZoneInfo("UTC")


def held_answers(
    source: UsageSnapshot, meter: PlainMeter, hours: Sequence[int], subjects: Sequence[str], deadline: Deadline
) -> dict[StateKey, State]:
    """The quantity of each of these hours, of these subjects (none: all), by every group: as a query would say it."""
    definition = meter_as_of(source, meter.slug, None)
    group_by = (SUBJECT_KEY, *definition.group_by)
    found: dict[StateKey, State] = {}
    parts = [subjects[start : start + SUBJECTS_MAX] for start in range(0, len(subjects), SUBJECTS_MAX)] or [subjects]
    for hour, part in product(hours, parts):
        span = Span(from_epoch_us(hour), from_epoch_us(hour) + timedelta(hours=1))
        query = require_query(definition, part, span, Window.NONE, _UTC, group_by)
        for row in full_answer(source, query, deadline, PAGED_ROWS_MAX).rows():
            if row.value is not None:
                found[_key(meter, row)] = State(number=units(parse_decimal(row.value)))
    return found


def _key(meter: PlainMeter, row: UsageRow) -> StateKey:
    subject, *group = row.group
    return StateKey(meter.slug, epoch_us(row.span.start), subject, tuple(group))
