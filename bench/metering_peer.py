"""The same job with the `eventsourcing` library: record usage events durably in SQLite, then fold them into hours."""

import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

LOCK_TIMEOUT_S = 120
PAGE = 1_000
HOUR_US = 3_600_000_000

UsageEvent = dict[str, Any]
"""A usage event as JSON holds it: id, source, type, subject, at_us, value (decimal text), properties."""


class Peer:
    """Its SQLite recorder, one stored event a usage event, appended in batches; the database makes each durable."""

    def __init__(self, folder: Path) -> None:
        self._datastore = SQLiteDatastore(str(folder / "peer.db"), lock_timeout=LOCK_TIMEOUT_S, pool_size=1)
        self._recorder = SQLiteApplicationRecorder(self._datastore)
        self._recorder.create_table()
        self._versions: defaultdict[UUID, int] = defaultdict(int)

    def record(self, batches: Sequence[Sequence[UsageEvent]]) -> float:
        """Append every batch; usage events a second."""
        started_s = perf_counter()
        for batch in batches:
            self._recorder.insert_events([self._stored(event) for event in batch])
        return sum(map(len, batches)) / (perf_counter() - started_s)

    def fold(self) -> float:
        """Read everything back and sum it by hour, type, subject and group, exactly; usage events a second."""
        started_s = perf_counter()
        totals: defaultdict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
        start, count = 1, 0
        while notifications := self._recorder.select_notifications(start=start, limit=PAGE):
            for notification in notifications:
                event = json.loads(notification.state)
                hour = event["at_us"] // HOUR_US
                totals[event["type"], hour, event["subject"], *event["properties"].values()] += Decimal(event["value"])
            start, count = notifications[-1].id + 1, count + len(notifications)
        return count / (perf_counter() - started_s)

    def close(self) -> None:
        """Let go of the file."""
        self._datastore.close()

    def _stored(self, event: UsageEvent) -> StoredEvent:
        stream = UUID(int=hash(event["source"]) & (2**127 - 1))
        self._versions[stream] += 1
        return StoredEvent(stream, self._versions[stream], "UsageRecorded", json.dumps(event).encode())
