"""How often usage is checked in the background, and how much of it: its settings, and the worker that they ask for."""

from datetime import timedelta

from services.aggregator.check.checking import Checking
from services.aggregator.check.worker import UsageCheckWorker
from services.aggregator.tables import UsageTables
from services.projection.runner import ProjectionRunner
from services.rpc.settings import Setting, Settings

CHECK_EVERY_S = Setting(
    "METERLOG_CHECK_EVERY_S",
    "600",
    "Seconds between two background checks of usage against an independent count of the log; 0 for none.",
)
CHECK_SAMPLES = Setting("METERLOG_CHECK_SAMPLES", "100", "About how many states a background check looks at.")
CHECK_SETTINGS = (CHECK_EVERY_S, CHECK_SAMPLES)


def check_workers(
    settings: Settings, checking: Checking, windows: ProjectionRunner[UsageTables]
) -> tuple[UsageCheckWorker, ...]:
    """The worker that checks in the background; none where the settings want none. Raises InvalidInput."""
    every_s, samples = settings.seconds(CHECK_EVERY_S.name), settings.integer(CHECK_SAMPLES.name, minimum=1)
    if not every_s:
        return ()
    return (UsageCheckWorker(checking, windows, timedelta(seconds=every_s), samples),)
