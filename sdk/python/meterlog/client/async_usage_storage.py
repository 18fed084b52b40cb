"""The archive of usage, and checks of it, from an event loop."""

from meterlog.client import storage
from meterlog.client.asking import AsyncAsking
from meterlog.client.storage import CheckRecord, Compaction, UsageArchive, UsageCheck
from meterlog.client.usage_reader import READ_TIMEOUT_S
from meterlog.client.usage_storage import CHECK_TIMEOUT_S, COMPACTION_TIMEOUT_S, SAMPLES


class AsyncUsageStorage:
    """As `UsageStorage`, each call to be awaited."""

    def __init__(self, asking: AsyncAsking) -> None:
        self._asking = asking

    async def archive(self, *, timeout_s: float = READ_TIMEOUT_S) -> UsageArchive:
        """Where the archive stands."""
        return await self._asking.one(storage.usage_archive(), timeout_s)

    async def compact(self, *, timeout_s: float = COMPACTION_TIMEOUT_S) -> Compaction:
        """As `UsageStorage.compact`."""
        return await self._asking.one(storage.compact_usage_archive(), timeout_s)

    async def check(
        self, *, samples: int | None = SAMPLES, seed: int = 0, timeout_s: float = CHECK_TIMEOUT_S
    ) -> UsageCheck:
        """As `UsageStorage.check`."""
        return await self._asking.one(storage.check_usage(samples, seed), timeout_s)

    async def checked(self, *, timeout_s: float = READ_TIMEOUT_S) -> CheckRecord:
        """As `UsageStorage.checked`."""
        return await self._asking.one(storage.usage_check(), timeout_s)
