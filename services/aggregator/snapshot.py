"""One consistent look at the read model: tables, the log position that they stand at, and the log behind them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import Tally
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.projection.generations import live_generation
from services.projection.runner import ProjectionRunner


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """Tables that are folded up to `position`, not further; the log only ever grows behind it.

    `generation` is the version and the number of these tables; `tally` hears how much of the log was read, when
    somebody waits for it.
    """

    connection: Connection
    tables: UsageTables
    store: EventStore
    position: Position
    archive: ArchivedUsage | None = None
    generation: tuple[int, int] = (0, 0)
    tally: Tally | None = None


@contextmanager
def snapshot(
    windows: ProjectionRunner[UsageTables], store: EventStore, archive: ArchivedUsage | None = None
) -> Iterator[UsageSnapshot]:
    """The live tables as they stand now."""
    with windows.read() as (connection, tables):
        generation = live_generation(connection, windows.name)
        assert generation is not None, "read() refuses while there is no live generation"
        made = (generation.version, generation.number)
        yield UsageSnapshot(connection, tables, store, generation.position, archive, made)
