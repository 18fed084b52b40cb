"""A question about usage, and what it may ask. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from services.aggregator.meters.conditions import Condition
from services.aggregator.meters.definition import SUBJECT_KEY, Definition
from services.eventstore.event import Position
from services.kernel.calendar import Span, Window, windows
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier

WINDOWS_MAX = 100_000
SUBJECTS_MAX = 1_000
TOP_MAX = 1_000


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """The usage of one meter in some windows, of some subjects (empty: all), by group.

    `group_by` holds keys of the meter's group_by and "subject". Empty: one quantity a window, over all chosen subjects.
    `filters` look at keys of the meter's group_by. `top` leaves so many groups, those with the greatest quantity over
    all windows; 0 leaves all. `as_of` is the log position whose answer is wanted; None: the snapshot's. `now` is the
    instant of the answer, behind which no level lasts (weighted_sum); None: levels last to the end of their window.
    """

    meter: Definition
    subjects: tuple[str, ...]
    windows: tuple[Span, ...]
    group_by: tuple[str, ...]
    filters: tuple[Condition, ...] = ()
    top: int = 0
    as_of: Position | None = None
    now: datetime | None = None

    def filtered(self, filters: Sequence[Condition]) -> "UsageQuery":
        """The same, of the groups that meet these well-formed conditions; raises InvalidInput that names the field."""
        for index, condition in enumerate(filters):
            if condition.property not in self.meter.group_by:
                raise _unknown_filter_key(self.meter, condition.property, f"filters[{index}].property")
        return replace(self, filters=tuple(filters))

    def topped(self, top: int) -> "UsageQuery":
        """The same, of the `top` greatest groups (0: of all); raises InvalidInput that names the field."""
        if not 0 <= top <= TOP_MAX:
            raise InvalidInput(f"top is {top}; it must be 1 to {TOP_MAX}", field="top", reason="BAD_TOP")
        if top and not self.group_by:
            raise InvalidInput("top chooses among groups; say group_by, too", field="top", reason="TOP_WITHOUT_GROUPS")
        return replace(self, top=top)

    def at(self, now: datetime, as_of: Position | None) -> "UsageQuery":
        """The same, asked at this instant, of the log up to `as_of`."""
        return replace(self, now=now, as_of=as_of)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The quantity of one window and group; None when there was no usage and the aggregation has no value for that."""

    span: Span
    group: tuple[str, ...]
    value: str | None


def require_query(
    meter: Definition,
    subjects: Sequence[str],
    span: Span,
    window: Window,
    zone: ZoneInfo,
    group_by: Sequence[str],
) -> UsageQuery:
    """The query, when it makes sense; raises InvalidInput that names the field."""
    _require_subjects(subjects)
    _require_group_by(meter, group_by)
    return UsageQuery(meter, tuple(sorted(set(subjects))), _windows(span, window, zone), tuple(group_by))


def _require_subjects(subjects: Sequence[str]) -> None:
    if len(subjects) > SUBJECTS_MAX:
        raise InvalidInput(
            f"subjects has {len(subjects)} keys; ask for at most {SUBJECTS_MAX}, or for all",
            field="subjects",
            reason="TOO_MANY_SUBJECTS",
        )
    for index, subject in enumerate(subjects):
        require_identifier(subject, f"subjects[{index}]")


def _require_group_by(meter: Definition, group_by: Sequence[str]) -> None:
    allowed = (SUBJECT_KEY, *meter.group_by)
    for index, key in enumerate(group_by):
        field = f"group_by[{index}]"
        if key not in allowed:
            raise InvalidInput(
                f'{field} is "{key[:64]}"; meter "{meter.slug}" can be grouped by {", ".join(allowed)}',
                field=field,
                reason="UNKNOWN_GROUP_KEY",
            )
        if key in group_by[:index]:
            raise InvalidInput(f'{field} repeats "{key}"; leave it out', field=field, reason="GROUP_KEY_REPEATED")


def _unknown_filter_key(meter: Definition, key: str, field: str) -> InvalidInput:
    known = f"it can be filtered by {', '.join(meter.group_by)}" if meter.group_by else "it has none to filter by"
    return InvalidInput(
        f'{field} is "{key[:64]}", no group_by key of meter "{meter.slug}"; {known}',
        field=field,
        reason="UNKNOWN_FILTER_KEY",
    )


def _windows(span: Span, window: Window, zone: ZoneInfo) -> tuple[Span, ...]:
    if span.start >= span.end:
        raise InvalidInput("end_at must be after start_at", field="end_at", reason="RANGE_REVERSED")
    try:
        found = tuple(islice(windows(span, window, zone), WINDOWS_MAX + 1))
    except (OverflowError, ValueError) as error:
        raise InvalidInput(
            "the range is too near the first or last year of the calendar for windows in a time zone; narrow it",
            field="start_at",
            reason="RANGE_BEYOND_CALENDAR",
        ) from error
    if len(found) > WINDOWS_MAX:
        raise InvalidInput(
            f"the range has more than {WINDOWS_MAX} windows; narrow it, or choose longer windows",
            field="window",
            reason="TOO_MANY_WINDOWS",
        )
    return found
