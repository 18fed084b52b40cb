"""How fast metering is over the reference load W, durable on an embedded store, beside a peer and a ceiling.

    python bench/bench_metering.py [--events 10000000] [--seconds 10] [--freshness-seconds 60]

Services run as processes of their own; clients run beside them on the same machine, and make what they send while it is
timed. The peer is the `eventsourcing` library doing the same job; the ceiling is Polars over the same usage as Parquet.
Written to var/bench/metering.json as well.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto" / "gen")]

import metering_measures as measures  # noqa: E402 (the path is set above)
from metering_measures import Row  # noqa: E402 (as above)
from rich.console import Console  # noqa: E402 (as above)
from rich.table import Table  # noqa: E402 (as above)

WIDTH = 130
AT_LEAST, AT_MOST = "at least", "at most"
TARGETS: dict[str, tuple[str, float]] = {
    "record_usage_rows": (AT_LEAST, 100_000),
    "record_usage_single": (AT_LEAST, 2_500),
    "record_usage_columns": (AT_LEAST, 500_000),
    "ingest_memory_peak": (AT_MOST, 1.0),
    "replay_windows": (AT_LEAST, 1_000_000),
    "replay_memory_peak": (AT_MOST, 1.0),
    "query_month_p99": (AT_MOST, 20.0),
    "query_as_of_largest_customer": (AT_MOST, 500.0),
    "percentile_largest_customer": (AT_MOST, 500.0),
    "aggregator_memory_peak": (AT_MOST, 1.0),
    "freshness_p99": (AT_MOST, 1.0),
    "record_cost_growth": (AT_MOST, 1.3),
    "replay_cost_growth": (AT_MOST, 1.3),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="usage events of the load")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long rows are sent")
    parser.add_argument("--freshness-seconds", type=float, default=60.0)
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measured(Path(folder), asked.events, asked.seconds, asked.freshness_seconds):
            print(f"{row.name}: {row.value:,} {row.unit}", file=sys.stderr, flush=True)
            rows.append(row)
    show(rows)
    write(rows)


def measured(folder: Path, events: int, seconds: float, freshness_s: float) -> Iterator[Row]:
    """Every figure; the log of one is the next one's, and grows."""
    peer_records, peer_folds = measures.peer_rates(folder)
    yield from measures.recorded_by_rows(folder, seconds, peer_records)
    measures.create_meters(folder)
    yield from measures.recorded_in_columns(folder, events, peer_records)
    yield from measures.replayed(folder, events, peer_folds)
    yield from measures.asked(folder)
    yield from measures.recorded_as_much_again(folder, events)
    yield from measures.replayed_as_much_again(folder)
    yield from measures.freshness(folder, freshness_s)
    yield from measures.ceilings(folder, events)


def show(rows: list[Row]) -> None:
    """The table, with the targets."""
    table = Table("", "meterlog", "eventsourcing", "ratio", "target", title="Metering over the reference load")
    for row in rows:
        peer, ratio = f"{row.peer:,.0f}" if row.peer else "", f"{row.ratio:.1f}" if row.ratio else ""
        table.add_row(row.name, f"{row.value:,} {row.unit}", peer, ratio, verdict(row))
    Console(width=WIDTH).print(table)


def verdict(row: Row) -> str:
    """The target, and whether it is reached."""
    if row.name not in TARGETS:
        return ""
    bound, target = TARGETS[row.name]
    is_reached = row.value >= target if bound == AT_LEAST else row.value <= target
    return f"{bound} {target:,} {'reached' if is_reached else 'missed'}"


def write(rows: list[Row]) -> None:
    """The same for programs."""
    file = ROOT / "var" / "bench" / "metering.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
