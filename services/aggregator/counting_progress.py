"""Says in the log how far the count of earlier usage has come, so that nobody takes a long one for a standstill."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import structlog
from sqlalchemy import func, select

from services.aggregator.definition import Definition
from services.aggregator.snapshot import UsageSnapshot
from services.kernel.clock import monotonic_s

PROGRESS_EVERY_S = 5.0

log = structlog.get_logger()


def with_progress(
    parts: Iterable[pa.Table],
    source: UsageSnapshot,
    meters: Sequence[Definition],
    seconds: Callable[[], float] = monotonic_s,
) -> Iterator[pa.Table]:
    """The same parts of usage; one line every PROGRESS_EVERY_S with how many usage events are counted, and of how many.

    Of how many is at most: it knows the types that the meters count, not the times. A count that is over before the
    first line is silent.
    """
    total = _recorded(source, meters)
    counted, told_at_s, is_told = 0, seconds(), False
    for part in parts:
        yield part
        counted += part.num_rows
        if seconds() - told_at_s >= PROGRESS_EVERY_S:
            log.info("counting earlier usage", meters=_slugs(meters), usage_events=counted, of_at_most=total)
            told_at_s, is_told = seconds(), True
    if is_told:
        log.info("earlier usage is counted", meters=_slugs(meters), usage_events=counted)


def _recorded(source: UsageSnapshot, meters: Sequence[Definition]) -> int:
    types = source.tables.types
    wanted = {name for meter in meters for name in meter.event_types}
    counts = select(func.coalesce(func.sum(types.c.usage_event_count), 0)).where(types.c.type.in_(wanted))
    return int(source.connection.execute(counts).scalar_one())


def _slugs(meters: Sequence[Definition]) -> list[str]:
    return [meter.slug for meter in meters]
