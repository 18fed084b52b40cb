"""Starts the aggregator: `python -m services.aggregator`; `--help` lists its settings."""

import sys

from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.totals import Totals
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_events import UsageEvents
from services.aggregator.closer import PeriodCloser
from services.aggregator.server import AGGREGATOR_SERVICE, AggregatorFace
from services.aggregator.usage_periods import UsagePeriods
from services.aggregator.usage_windows import UsageWindows
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rpc.grace import GRACE, grace_period
from services.rpc.service import Context, Face, Service, Worker, run
from services.rpc.settings import Setting

SETTINGS = (
    Setting("METERLOG_CLOSE_PERIODS", "month", "Periods that close by themselves: month (UTC), or none."),
    GRACE,
)


def build(context: Context) -> Service:
    """The room, wired."""
    store, clock, settings = context.store, context.clock, context.settings
    database = Database.open(context.database_url, "aggregator")
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
        closers = (PeriodCloser(store, clock, windows, grace_period(settings)),)
    return Service((Face(AGGREGATOR_SERVICE, face.register),), (windows, periods, *closers), (windows, periods))


if __name__ == "__main__":
    sys.exit(run("aggregator", build, SETTINGS))
