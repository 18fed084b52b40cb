"""Starts the aggregator: `python -m services.aggregator`; `--help` lists its settings."""

import sys

from services.aggregator.api.backfills import Backfills
from services.aggregator.api.corrections import Corrections
from services.aggregator.api.counting import CountingState
from services.aggregator.api.meters import Meters
from services.aggregator.api.periods import Periods
from services.aggregator.api.storage_archive import StorageArchive
from services.aggregator.api.totals import Totals
from services.aggregator.api.unmatched import Unmatched
from services.aggregator.api.usage import Usage
from services.aggregator.api.usage_check import UsageChecks
from services.aggregator.api.usage_events import UsageEvents
from services.aggregator.api.watch import UsageWatch
from services.aggregator.archive.settings import ARCHIVE_SETTINGS, archiver_of
from services.aggregator.check.checker import UsageChecker
from services.aggregator.check.checking import Checking
from services.aggregator.check.settings import CHECK_SETTINGS, check_workers
from services.aggregator.correction_face import CORRECTION_SERVICE, CorrectionFace
from services.aggregator.corrections.turn import Turn
from services.aggregator.periods.closer import PeriodCloser
from services.aggregator.periods.period_kind import parse_period_kinds
from services.aggregator.periods.period_review import PeriodReview
from services.aggregator.periods.restater import PeriodRestater
from services.aggregator.periods.usage_periods import UsagePeriods
from services.aggregator.questions.fold_bell import FoldBell
from services.aggregator.server import AGGREGATOR_SERVICE, AggregatorFace
from services.aggregator.storage_face import STORAGE_SERVICE, StorageFace
from services.aggregator.usage_windows import UsageWindows
from services.aggregator.waiting.counting_progress import CountingProgress
from services.aggregator.waiting.lasting_calls import LastingCalls
from services.aggregator.waiting.outstanding import Outstanding
from services.projection.database import Database
from services.projection.runner import ProjectionRunner
from services.rpc.grace import GRACE, grace_period
from services.rpc.service import Context, Face, Service, run
from services.rpc.settings import Setting

SETTINGS = (
    Setting(
        "METERLOG_CLOSE_PERIODS",
        "month",
        "Periods that close by themselves: none, or a comma list of hour, day, week, month, quarter, year (UTC) and "
        "<kind>@<time zone>.",
    ),
    Setting("METERLOG_RESTATE_EVERY_S", "5", "Seconds between two looks for closed periods whose usage changed."),
    GRACE,
    *ARCHIVE_SETTINGS,
    *CHECK_SETTINGS,
)


def build(context: Context) -> Service:
    """The room, wired."""
    store, clock, settings = context.store, context.clock, context.settings
    database = Database.open(context.database_url, "aggregator", is_shared=True)
    progress = CountingProgress()
    windows = ProjectionRunner(store, database, UsageWindows(store, progress))
    periods = ProjectionRunner(store, database, UsagePeriods())
    archiver = archiver_of(context, database, windows)
    archive = archiver.archive if archiver else None
    bell = FoldBell(windows)
    checker = UsageChecker(store, windows, clock, context.log_settings.usage_partitions, archive)
    checking = Checking(checker)
    lasting = LastingCalls()
    face = AggregatorFace(
        Meters(store, windows, clock, archive, progress),
        Usage(store, windows, clock, archive, progress),
        UsageWatch(store, windows, clock, bell, archive, progress),
        Totals(store, windows, clock, archive, progress),
        UsageEvents(store, windows),
        Unmatched(store, windows),
        Periods(store, windows, periods, clock, archive),
        CountingState(Outstanding(store, windows, progress)),
        lasting,
    )
    kinds = parse_period_kinds(settings.text("METERLOG_CLOSE_PERIODS"), "METERLOG_CLOSE_PERIODS")
    closer = PeriodCloser(store, clock, windows, kinds, grace_period(settings), archive, checking.problem)
    every_s = settings.seconds("METERLOG_RESTATE_EVERY_S")
    restater = PeriodRestater(store, clock, windows, every_s, archive, checking.problem, PeriodReview(database))
    turn = Turn(database)
    corrections = CorrectionFace(
        Corrections(store, windows, clock, archive, turn, progress),
        Backfills(store, windows, clock, archive, turn, progress),
        lasting,
    )
    storage = StorageFace(StorageArchive(archiver), UsageChecks(checking, windows.require_leading))
    checks = check_workers(settings, checking, windows)
    return Service(
        (
            Face(AGGREGATOR_SERVICE, face.register),
            Face(CORRECTION_SERVICE, corrections.register),
            Face(STORAGE_SERVICE, storage.register),
        ),
        (windows, periods, bell, *((archiver,) if archiver else ()), closer, restater, *checks),
        (windows, periods),
        (bell.drain,),
    )


if __name__ == "__main__":
    sys.exit(run("aggregator", build, SETTINGS))
