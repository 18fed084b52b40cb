"""The aggregator as a process, killed while it closes and restates: each period is closed once, and ends up right."""

import os
import socket
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from services.aggregator.aggregations.aggregation import AggregationName
from services.aggregator.meters.definition import Definition
from services.aggregator.meters.meter import METER, CreateMeter, meter_stream
from services.aggregator.periods.period import PERIOD, PeriodEvent
from services.eventstore.catalogue import decode, encode
from services.eventstore.decider import handle
from services.eventstore.event import BEGINNING, StreamName
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.eventstore.usage_batch import encode_usage, usage_batch_of
from services.kernel.clock import SystemClock, epoch_us
from tests.webhook_bench import eventually

JANUARY = datetime(2024, 1, 15, 12, tzinfo=UTC)
SUBJECTS = [f"s{number:03d}" for number in range(300)]
REQUESTS = Definition("requests", "", "call", AggregationName.COUNT, "", (), "")
WHILE_CLOSING = ("append.before_commit=kill@1", "append.after_commit=kill@2")
WHILE_RESTATING = ("append.after_answer=kill@1", "fold.before_commit=kill@1")
WAIT_S = 40.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path}/log/events.db", SystemClock())
    handle(opened, METER, meter_stream("requests"), CreateMeter(REQUESTS, JANUARY), JANUARY)
    yield opened
    opened.close()


@contextmanager
def aggregator(folder: Path, failpoints: str) -> Iterator[subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METERLOG_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "METERLOG_STORE_URL": f"sqlite:///{folder}/log/events.db",
        "METERLOG_VAR": str(folder),
        "METERLOG_LISTEN": address,
        "METERLOG_CLOSE_PERIODS": "month,quarter@Asia/Kathmandu",
        "METERLOG_RESTATE_EVERY_S": "0",
        "METERLOG_FAILPOINTS": failpoints,
    }
    with (folder / "aggregator.log").open("ab") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.aggregator"], env=environment, stderr=lines, stdout=lines
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(WAIT_S)


def record(store: EventStore, version: int) -> None:
    """One call of each subject."""
    size = len(SUBJECTS)
    batch = usage_batch_of(
        ["test"] * size,
        ["call"] * size,
        SUBJECTS,
        [f"{version}-{subject}" for subject in SUBJECTS],
        [epoch_us(JANUARY)] * size,
        [Decimal(1)] * size,
        [{}] * size,
    )
    stream = StreamName("usage", "0")
    store.append(stream, [encode(encode_usage(batch), stream, version, JANUARY)], version - 1)


def totals(store: EventStore) -> Counter[str]:
    """How many periods say what total, by what was said last of each."""
    said: defaultdict[StreamName, list[PeriodEvent]] = defaultdict(list)
    for recorded in store.read_all(after=BEGINNING, categories={"period"}).events:
        said[recorded.stream].append(cast(PeriodEvent, decode(recorded)))
    stated = [PERIOD.fold(events) for events in said.values()]
    return Counter(each.totals["requests"] for each in stated if each is not None)


def has_ended_or(process: subprocess.Popen[bytes], is_done: Callable[[], bool]) -> bool:
    return process.poll() is not None or is_done()


def run_until(store: EventStore, folder: Path, is_done: Callable[[], bool], points: Sequence[str]) -> None:
    """Run with each failpoint until it kills, or until there is nothing left to do; then without."""
    for failpoint in points:
        with aggregator(folder, failpoint) as process:
            eventually(partial(has_ended_or, process, is_done), WAIT_S)
    with aggregator(folder, "") as process:
        eventually(is_done, WAIT_S)
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_killed_while_it_closes_and_restates_it_says_everything_once(tmp_path: Path, store: EventStore) -> None:
    record(store, 0)
    run_until(store, tmp_path, lambda: totals(store) == {"1": 600}, WHILE_CLOSING)
    assert len(store.read_all(after=BEGINNING, categories={"period"}).events) == 600

    record(store, 1)
    run_until(store, tmp_path, lambda: totals(store) == {"2": 600}, WHILE_RESTATING)
    assert len(store.read_all(after=BEGINNING, categories={"period"}).events) == 1_200
    assert (tmp_path / "aggregator.log").read_text().count("failpoint ") >= 3
