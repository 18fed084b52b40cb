"""Which closed periods are to be looked at because the tables were replaced: what was said from others may be wrong.

How far that is stands beside the tables of projections and outlives them. Tables that were folded anew, because they
were damaged, lost or of another version, are others: all closed periods are looked at once more, in order of their end.
"""

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, delete, insert, inspect, select

from services.aggregator.periods.closings import ClosedSpan, closed_spans_ending_after
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.archived_usage import EARLIEST_US, LATEST_US
from services.projection.columns import TEXT
from services.projection.database import FOLD_WAIT_S, Database

SPANS_MAX = 20
"""Periods that are looked at in one round, so that late usage never waits long for its restatement."""

NOTHING = ClosedSpan(EARLIEST_US, EARLIEST_US, "")
EVERYTHING = ClosedSpan(LATEST_US, LATEST_US, "")
"""Spans before the first that there can be, and behind the last."""

_METADATA = MetaData()

_REVIEW = Table(
    "usage_period_review",
    _METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("end_us", BigInteger, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("period", TEXT, nullable=False),
)


class PeriodReview:
    """For one worker. Whoever begins anew goes on where the last note stands."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: tuple[tuple[int, int], ClosedSpan] | None = None

    def due(self, source: UsageSnapshot) -> list[ClosedSpan]:
        """The next periods to look at, at most SPANS_MAX; none when the tables that answer are known."""
        reached = self._reached(source)
        if reached == EVERYTHING:
            return []
        later = closed_spans_ending_after(source.connection, source.tables, reached.end_us - 1)
        return [span for span in later if span > reached][:SPANS_MAX]

    def note(self, generation: tuple[int, int], spans: list[ClosedSpan]) -> None:
        """These periods were looked at, as the tables of this generation have them; none: there was no other."""
        reached = spans[-1] if spans else EVERYTHING
        if self._noted == (generation, reached):
            return
        with self._database.write(FOLD_WAIT_S) as connection:
            _METADATA.create_all(connection)
            connection.execute(delete(_REVIEW))
            connection.execute(insert(_REVIEW).values((*generation, reached.end_us, reached.start_us, reached.period)))
        self._noted = (generation, reached)

    def _reached(self, source: UsageSnapshot) -> ClosedSpan:
        if self._noted is None or self._noted[0] != source.generation:
            self._noted = (source.generation, _read(source.connection, source.generation))
        return self._noted[1]


def _read(connection: Connection, generation: tuple[int, int]) -> ClosedSpan:
    """Up to where the periods were looked at as these tables have them."""
    if not inspect(connection).has_table(_REVIEW.name):
        return NOTHING
    row = connection.execute(select(_REVIEW)).one_or_none()
    if row is None or (row.version, row.generation) != generation:
        return NOTHING
    return ClosedSpan(row.end_us, row.start_us, row.period)
