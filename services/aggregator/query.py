"""A question about usage, and what it may ask. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from zoneinfo import ZoneInfo

from services.aggregator.definition import SUBJECT_KEY, Definition
from services.kernel.calendar import Span, Window, windows
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_identifier

WINDOWS_MAX = 100_000
SUBJECTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """The usage of one meter in some windows, of some subjects (empty: all), by group.

    `group_by` holds keys of the meter's group_by and "subject". Empty: one quantity a window, over all chosen subjects.
    """

    meter: Definition
    subjects: tuple[str, ...]
    windows: tuple[Span, ...]
    group_by: tuple[str, ...]


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
