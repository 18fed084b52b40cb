"""Starts the aggregator: `python -m services.aggregator`; `--help` lists its settings."""

import sys
from datetime import timedelta

from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.totals import Totals
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_events import UsageEvents
from services.aggregator.closer import PeriodCloser
from services.aggregator.server import AGGREGATOR_SERVICE, AggregatorFace
from services.aggregator.usage_periods import UsagePeriods
from services.aggregator.usage_windows import UsageWindows
from services.kernel.errors import InvalidInput
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rpc.service import Context, Face, Service, Worker, run
from services.rpc.settings import Setting, Settings

GRACE_S_MAX = 366 * 86_400

SETTINGS = (
    Setting("METERLOG_CLOSE_PERIODS", "month", "Periods that close by themselves: month (UTC), or none."),
    Setting(
        "METERLOG_GRACE_S",
        "3600",
        "Seconds behind a period's end during which late usage still counts; the same for rating.",
    ),
)


def build(context: Context) -> Service:
    """The room, wired."""
    store, clock, settings = context.store, context.clock, context.settings
    database = Database.open(context.database_url)
    windows = ProjectionRunner(store, database, UsageWindows(store))
    periods = ProjectionRunner(store, database, UsagePeriods())
    face = AggregatorFace(
        Meters(store, windows, clock),
        Usage(store, windows),
        Totals(store, windows),
        UsageEvents(store, windows),
        Periods(periods),
    )
    closers: tuple[Worker, ...] = ()
    if settings.choice("METERLOG_CLOSE_PERIODS", ("month", "none")) == "month":
        closers = (PeriodCloser(store, clock, windows, _grace(settings)),)
    return Service((Face(AGGREGATOR_SERVICE, face.register),), (windows, periods, *closers), (windows, periods))


def _grace(settings: Settings) -> timedelta:
    seconds = settings.seconds("METERLOG_GRACE_S")
    if seconds > GRACE_S_MAX:
        raise InvalidInput(
            f"METERLOG_GRACE_S is {seconds}; use at most {GRACE_S_MAX}, a year", field="METERLOG_GRACE_S"
        )
    return timedelta(seconds=seconds)


if __name__ == "__main__":
    sys.exit(run("aggregator", build, SETTINGS))
