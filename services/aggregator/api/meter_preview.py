"""The API's method about what a meter would say."""

from datetime import datetime
from zoneinfo import ZoneInfo

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.meter_message import parse_definition, parse_effective_from
from services.aggregator.api.range import parse_span
from services.aggregator.deadline import Deadline
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter_rows import find_meter
from services.aggregator.meters.preview import Change, preview
from services.aggregator.meters.versions import require_succession, succeed
from services.aggregator.questions.query import require_query
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.eventstore.store import EventStore
from services.kernel.calendar import Window
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput
from services.projection.runner import ProjectionRunner

_ANY_ZONE = ZoneInfo("UTC")


class MeterPreview:
    """Counts a meter that is not there, or not yet so, over past usage. Nothing is written."""

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
    ) -> None:
        self._store = store
        self._windows = windows
        self._clock = clock
        self._archive = archive

    def preview(self, request: api.PreviewMeterRequest, left_s: float) -> api.PreviewMeterResponse:
        """What the meter would say of a range, beside what it says now."""
        deadline = Deadline.after(left_s)
        definition, effective_from = parse_definition(request.meter), parse_effective_from(request)
        span = parse_span(request)
        with snapshot(self._windows, self._store, self._archive) as usage:
            standing = find_meter(usage.connection, usage.tables, definition.slug)
            current = None if standing is None else standing.definition
            new = _succeeding(current, definition, effective_from)
            query = require_query(new, request.subjects, span, Window.NONE, _ANY_ZONE, ())
            found = preview(usage, current, query.at(self._clock.now(), None), deadline)
        return api.PreviewMeterResponse(
            changes=map(_message, found.changes),
            changed_subject_count=found.changed_subject_count,
            usage_event_count=found.tally.of_type,
            counted_count=found.tally.counted,
            unreadable_count=found.tally.chosen - found.tally.counted,
            group_count=found.group_count,
            position=found.position,
        )


def _succeeding(current: Definition | None, new: Definition, effective_from: datetime | None) -> Definition:
    if current is not None:
        require_succession(current, new, effective_from)
        return succeed(current, new, effective_from)
    if effective_from is not None:
        raise InvalidInput(
            f'there is no meter "{new.slug}" whose usage could stay as it is before effective_from; leave it unset',
            field="effective_from",
            reason="NO_METER_TO_REDEFINE",
        )
    return new


def _message(change: Change) -> api.MeterChange:
    return api.MeterChange(subject=change.subject, current_value=change.current, new_value=change.new)
