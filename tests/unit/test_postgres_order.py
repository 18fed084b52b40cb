"""Many processes append at once, some of them in vain: positions have no gaps, and no reader misses any."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, Batch
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from tests.postgres_log import fresh_log_url

CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
ROOT = Path(__file__).resolve().parents[2]
WRITERS = 8
APPENDS = 60
WAIT_S = 60.0

# Appends of 1 to 40 events, a third of them to a stream that all writers share, some at a version that is passed; in
# between, transactions of the same shape that are rolled back after they have taken their positions.
WRITER = """
import json, random, sys
from datetime import UTC, datetime
from uuid import UUID
from services.eventstore.event import ANY_VERSION, NewEvent, StreamName, WrongExpectedVersion
from services.eventstore.postgres import writer as postgres_writer
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Unavailable

url, number, appends = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chosen = random.Random(number)
is_doomed = False

def fail_before_commit(name):
    if is_doomed and name == "append.before_commit":
        raise Unavailable("rolled back")

postgres_writer.fail_at = fail_before_commit
store = PostgresEventStore(LogAddress.parse(url), SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC)))
written, refused, rolled_back = 0, 0, 0
for append in range(appends):
    shared = chosen.random() < 0.33
    stream = StreamName("shared", "0") if shared else StreamName("own", str(number))
    identifiers = [UUID(int=number << 64 | append << 32 | index) for index in range(chosen.choice([1, 1, 2, 7, 40]))]
    events = [NewEvent(identifier, "Happened", 1, identifier.bytes) for identifier in identifiers]
    is_doomed = chosen.random() < 0.15
    newest = store.read_stream(stream, from_version=-1, limit=1, backwards=True)
    expected = newest[0].version if newest and shared else -1 if shared else ANY_VERSION
    try:
        store.append(stream, events, expected)
        written += len(events)
    except WrongExpectedVersion:
        refused += 1
    except Unavailable:
        rolled_back += 1
store.close()
print(json.dumps([written, refused, rolled_back]))
"""


def test_positions_are_contiguous_and_a_reader_at_the_tail_misses_none() -> None:
    url = fresh_log_url()
    store = PostgresEventStore(LogAddress.parse(url), CLOCK)
    seen: list[int] = []
    done = threading.Event()

    def tail() -> None:
        for news in store.subscribe(after=BEGINNING, batch_max=50, stop=done):
            if isinstance(news, Batch):
                seen.extend(event.position for event in news.events)

    reader = threading.Thread(target=tail, daemon=True)
    reader.start()
    outcomes = [json.loads(output) for output in run_writers(url)]
    written = sum(outcome[0] for outcome in outcomes)
    assert sum(outcome[2] for outcome in outcomes) > WRITERS, "too few were rolled back to prove anything"
    assert store.head().position == written
    wait_until(lambda: len(seen) >= written)
    done.set()
    reader.join(WAIT_S)
    assert seen == list(range(1, written + 1))
    assert verify(store).events == written
    events = [event for page in range(0, written, 1_000) for event in store.read_all(after=page, limit=1_000).events]
    assert max(Counter(event.id for event in events).values()) == 1
    store.close()


def run_writers(url: str) -> list[str]:
    """What eight processes that append at the same time print at their end."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto/gen", "sdk/python"))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(number), str(APPENDS)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    try:
        return [writer.communicate(timeout=WAIT_S)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()


def wait_until(is_true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if is_true():
            return
        pause.wait(0.01)
