"""The archive of usage, and checks of it, from threads."""

from meterlog.client import storage
from meterlog.client.asking import Asking
from meterlog.client.storage import CheckRecord, Compaction, UsageArchive, UsageCheck
from meterlog.client.usage_reader import READ_TIMEOUT_S

SAMPLES = 1_000
COMPACTION_TIMEOUT_S = 3600.0
"""All usage that is not archived yet is written before a compaction is answered."""
CHECK_TIMEOUT_S = 3600.0
"""A check is answered when it is done."""


class UsageStorage:
    """Looks after what the aggregator keeps beside the log. All raise CallFailed."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def archive(self, *, timeout_s: float = READ_TIMEOUT_S) -> UsageArchive:
        """Where the archive stands."""
        return self._asking.one(storage.usage_archive(), timeout_s)

    def compact(self, *, timeout_s: float = COMPACTION_TIMEOUT_S) -> Compaction:
        """Archive all usage recorded so far, merge small files, and apply retention, now. Safe to repeat."""
        return self._asking.one(storage.compact_usage_archive(), timeout_s)

    def check(self, *, samples: int | None = SAMPLES, seed: int = 0, timeout_s: float = CHECK_TIMEOUT_S) -> UsageCheck:
        """Count samples (a meter, a customer, an hour) anew from the log, or with None everything.

        A `seed` other than 0 repeats the choice of an earlier check. Raises WrongValue.
        """
        return self._asking.one(storage.check_usage(samples, seed), timeout_s)

    def checked(self, *, timeout_s: float = READ_TIMEOUT_S) -> CheckRecord:
        """What all checks found since the start of the process, those in the background included."""
        return self._asking.one(storage.usage_check(), timeout_s)
