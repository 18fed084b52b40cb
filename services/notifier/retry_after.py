"""The Retry-After header (RFC 9110, section 10.2.3): seconds, or a date."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SECONDS_DIGITS_MAX = 9


def retry_after_s(text: str, now: datetime) -> int | None:
    """Seconds to wait from `now`, never negative; None for a text that is neither number nor date."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= SECONDS_DIGITS_MAX:
        return int(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0, (until - now) // timedelta(seconds=1))
