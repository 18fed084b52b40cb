"""The grace period: how long behind a period's end late usage still counts. Aggregator and rating share its meaning."""

from datetime import timedelta

from services.kernel.errors import InvalidInput
from services.rpc.settings import Setting, Settings

GRACE_S_MAX = 366 * 86_400

GRACE = Setting(
    "METERLOG_GRACE_S",
    "3600",
    "Seconds behind a period's end during which late usage still counts; the same for aggregator and rating.",
)


def grace_period(settings: Settings) -> timedelta:
    """The configured grace period; raises InvalidInput past a year."""
    seconds = settings.seconds(GRACE.name)
    if seconds > GRACE_S_MAX:
        raise InvalidInput(f"{GRACE.name} is {seconds}; use at most {GRACE_S_MAX}, a year", field=GRACE.name)
    return timedelta(seconds=seconds)
