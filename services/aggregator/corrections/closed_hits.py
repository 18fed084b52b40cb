"""How many closed periods a correction would touch."""

import pyarrow as pa
import pyarrow.compute as pc

from services.aggregator.periods.closings import closed_spans_ending_after, counted_positions
from services.aggregator.snapshot import UsageSnapshot
from services.aggregator.usage.usage_table import HOUR_US


def closed_period_count(source: UsageSnapshot, touched: pa.Table) -> int:
    """Periods that are closed for a subject and hold one of its hours in `touched` (hour_us, subject)."""
    if not touched.num_rows:
        return 0
    hours = pc.min_max(touched["hour_us"]).as_py()
    count = 0
    for span in closed_spans_ending_after(source.connection, source.tables, hours["min"]):
        if span.start_us < hours["max"] + HOUR_US:
            is_within = pc.and_(
                pc.greater(touched["hour_us"], span.start_us - HOUR_US), pc.less(touched["hour_us"], span.end_us)
            )
            subjects = pc.unique(touched.filter(is_within)["subject"]).to_pylist()
            closed = counted_positions(source.connection, source.tables, span.period, span.start_us, subjects)
            count += len(closed)
    return count
