"""Retention: from which day on usage is kept in the archive. The log keeps everything."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.aggregator.archive.archived_file import ArchivedFile
from services.aggregator.usage.archived_usage import EARLIEST_US
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.errors import InvalidInput

KEEP_ALL: Final = "all"
KEEP_DAYS_MAX: Final = 1_000_000


def parse_keep_days(text: str, field: str) -> int | None:
    """Days to keep, or None for all of them; raises InvalidInput."""
    if text == KEEP_ALL:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= KEEP_DAYS_MAX and len(text) < 9):
        raise InvalidInput(
            f'{field} is "{text[:60]}"; it must be a number of days, 1 to {KEEP_DAYS_MAX}, or {KEEP_ALL}',
            field=field,
            reason="BAD_SETTING",
        )
    return int(text)


def first_kept_us(now: datetime, keep_days: int | None) -> int:
    """The first instant that is kept: the beginning of the UTC day `keep_days` before that of `now`."""
    if keep_days is None:
        return EARLIEST_US
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if keep_days > (midnight - datetime.min.replace(tzinfo=UTC)).days:
        return EARLIEST_US
    return epoch_us(midnight - timedelta(days=keep_days))


def is_outlived(file: ArchivedFile, first_us: int) -> bool:
    """Whether all that a file holds is from before what is kept."""
    return file.end_us <= first_us


def shown_day(first_us: int) -> str:
    """The first day that is kept, as YYYY-MM-DD; empty when all are."""
    return "" if first_us <= EARLIEST_US else from_epoch_us(first_us).date().isoformat()
