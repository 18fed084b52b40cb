"""Which of the log's usage streams a source belongs to. The rule is part of the log and never changes."""

from collections.abc import Mapping, Sequence
from zlib import crc32

from services.eventstore.event import StreamName

USAGE_CATEGORY = "usage"


def usage_stream(partition: int) -> StreamName:
    """The stream of a partition: usage-<partition>."""
    return StreamName(USAGE_CATEGORY, str(partition))


def partition_of(source: str, partitions: int) -> int:
    """CRC-32 of the source's UTF-8, modulo the number of partitions: a source always keeps to one stream."""
    return crc32(source.encode()) % partitions


def rows_by_partition(sources: Sequence[str], partitions: int) -> Mapping[int, Sequence[int]]:
    """The rows that belong to each partition, in order; partitions without rows are left out."""
    distinct = {source: partition_of(source, partitions) for source in set(sources)}
    if len(set(distinct.values())) == 1:
        return {next(iter(distinct.values())): range(len(sources))}
    rows: dict[int, list[int]] = {}
    for row, source in enumerate(sources):
        rows.setdefault(distinct[source], []).append(row)
    return rows
