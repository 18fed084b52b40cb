"""Which source the usage of a backfill is recorded under, and whether its backfill takes usage."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from meterlog.events.v1.correction_pb2 import BackfillReverted
from services.eventstore.catalogue import decode
from services.eventstore.event import RecordedEvent, StreamName
from services.eventstore.store import EventStore
from services.ingest.rules import RESERVED_SOURCE_PREFIX
from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, NotFound, RuleViolated

BACKFILL_CATEGORY: Final = "backfill"
FRESH_S: Final = 1.0
"""For so long it is believed that a backfill is as it was read."""
KNOWN_MAX: Final = 1_000
EVENTS_MAX: Final = 100
"""Events of one backfill that are read; it has a handful."""

_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Backfills:
    """The backfills of the log, each read again when it was read more than FRESH_S ago. Belongs to one event loop."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._read_at_s: OrderedDict[str, float] = OrderedDict()

    async def prefix(self, key: str) -> str:
        """What stands before every source of the backfill's usage; empty for no backfill.

        Raises InvalidInput for an impossible key, NotFound when there is no such backfill, and RuleViolated when it was
        reverted. One that is closed takes usage still: what was left out counts from when it is recorded.
        """
        if not key:
            return ""
        if _KEY.fullmatch(key) is None:
            raise InvalidInput(
                'backfill is no key; use 1 to 64 letters, digits, "_", "." and "-"',
                field="backfill",
                reason="BAD_IDENTIFIER",
            )
        read_at_s = self._read_at_s.get(key)
        if read_at_s is None or monotonic_s() - read_at_s > FRESH_S:
            await self._require_open(key)
        return f"{RESERVED_SOURCE_PREFIX}{key}/"

    async def _require_open(self, key: str) -> None:
        self._read_at_s.pop(key, None)
        now_s = monotonic_s()
        stream = StreamName(BACKFILL_CATEGORY, key)
        events = await asyncio.to_thread(self._store.read_stream, stream, from_version=0, limit=EVENTS_MAX)
        _require_takes_usage(key, events)
        self._read_at_s[key] = now_s
        if len(self._read_at_s) > KNOWN_MAX:
            self._read_at_s.popitem(last=False)


def _require_takes_usage(key: str, events: Sequence[RecordedEvent]) -> None:
    if not events:
        raise NotFound(f'no backfill "{key}"; open it first', reason="BACKFILL_NOT_FOUND")
    if any(isinstance(decode(event), BackfillReverted) for event in events):
        raise RuleViolated(
            f'backfill "{key}" was reverted, so that its usage never counts; open another', reason="BACKFILL_REVERTED"
        )
