"""Usage that lands in a month after it was closed for its subject: queries count it, what was closed does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from sqlalchemy import Connection

from services.aggregator.subject_months import closed_subjects
from services.aggregator.tables import UsageTables
from services.kernel.clock import from_epoch_us

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LateUsage:
    """Usage events of one month that came after its closing, and of how many subjects."""

    start_us: int
    subjects: int
    usage_events: int


def late_usage(connection: Connection, tables: UsageTables, months: pa.Table) -> Iterator[LateUsage]:
    """What of a table of `subject_months` is late, by month."""
    for start_us in pc.unique(months["start_us"]).sort().to_pylist():
        of_month = months.filter(pc.equal(months["start_us"], start_us))
        closed = closed_subjects(connection, tables, start_us, of_month["subject"].to_pylist())
        if closed:
            late = of_month.filter(pc.is_in(of_month["subject"], pa.array(closed, pa.utf8())))
            yield LateUsage(start_us, late.num_rows, pc.sum(late["usage_events"]).as_py())


def warn_of(found: Sequence[LateUsage], until_position: int) -> None:
    """One line a month. A rebuild folds the same usage and says so again; the position tells that it is the same."""
    for late in found:
        log.warning(
            "late usage in a closed month",
            month=from_epoch_us(late.start_us).strftime("%Y-%m"),
            subjects=late.subjects,
            usage_events=late.usage_events,
            until_position=until_position,
        )
