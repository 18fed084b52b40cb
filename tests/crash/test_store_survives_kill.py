"""A writer killed at any moment loses nothing that it acknowledged; two writers at once lose nothing either."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.event import BEGINNING, Batch, Position, RecordedEvent, StreamName
from services.eventstore.sqlite.read_only import ReadOnlySqliteEventStore

WORKER = Path(__file__).with_name("append_worker.py")
SMALL_WAL_BYTES = 50_000
ENDLESS = 10**9
ROUNDS = 8
SEED = 20240131
WAIT_S = 60.0
POLL_S = 0.002
POLLS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An append that its caller was told is durable: the position of its last event, and its event ids."""

    position: int
    ids: tuple[UUID, ...]


def problems(acknowledged: Sequence[Acknowledged], log: Sequence[RecordedEvent]) -> list[str]:
    """What a log contradicts of what was acknowledged, and of what every log promises."""
    found = []
    if [event.position for event in log] != list(range(1, len(log) + 1)):
        found.append("positions are not contiguous")
    for stream in {event.stream for event in log}:
        versions = [event.version for event in log if event.stream == stream]
        if versions != list(range(len(versions))):
            found.append(f"versions of {stream} are not contiguous")
    counts = Counter(event.id for event in log)
    found += [f"event {event_id} is there {count} times" for event_id, count in counts.items() if count > 1]
    for append in acknowledged:
        standing = tuple(event.id for event in log[append.position - len(append.ids) : append.position])
        if standing != append.ids:
            found.append(f"the append acknowledged at {append.position} is not there")
    return found


def torn_appends(log: Sequence[RecordedEvent]) -> list[str]:
    """Appends of the worker that are there in part only, acknowledged or not; the payload names them."""
    counts = Counter(event.payload.rstrip(b"\x00").decode() for event in log)
    return [name for name, count in counts.items() if count != events_in_append(int(name.rpartition("/")[2]))]


def events_in_append(number: int) -> int:
    return 1 + number % 5


@contextmanager
def worker(log: Path, name: str, appends: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that appends; its acknowledgements go to a file beside the log. It does not outlive the block."""
    arguments = [str(log), name, str(appends), str(SMALL_WAL_BYTES)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with acknowledgements(log, name).open("ab") as output:
        process = subprocess.Popen([sys.executable, str(WORKER), *arguments], stdout=output, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait(WAIT_S)


def acknowledgements(log: Path, name: str) -> Path:
    return log.with_name(f"{name}.acknowledged")


def read_acknowledged(log: Path, name: str) -> list[Acknowledged]:
    """The whole lines that a worker wrote."""
    lines = acknowledgements(log, name).read_text().split("\n")[:-1]
    return [Acknowledged(int(position), tuple(map(UUID, ids))) for position, *ids in map(str.split, lines)]


def read_log(log: Path) -> list[RecordedEvent]:
    """All events, of a log that verifies."""
    store = ReadOnlySqliteEventStore(log)
    verification = verify(store)
    assert verification.verified, verification
    events: list[RecordedEvent] = []
    while not (page := store.read_all(after=Position(len(events)))).is_last:
        events += page.events
    store.close()
    with closing(sqlite3.connect(log)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return [*events, *page.events]


def wait_for_first_acknowledgement(log: Path, name: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(POLLS_MAX):
        if acknowledgements(log, name).stat().st_size:
            return
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(POLL_S)
    pytest.fail("the worker acknowledged nothing")


def test_a_writer_killed_at_random_moments_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    log, moments = tmp_path / "log.db", random.Random(SEED)
    acknowledged: list[Acknowledged] = []
    for number in range(ROUNDS):
        name = f"round-{number}"
        with worker(log, name, ENDLESS) as process:
            wait_for_first_acknowledgement(log, name, process)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0.0, 0.4))
            process.kill()
        acknowledged += read_acknowledged(log, name)
        events = read_log(log)
        assert problems(acknowledged, events) + torn_appends(events) == [], f"round {number} of seed {SEED}"
    assert len(acknowledged) > 10 * ROUNDS


def test_two_processes_write_one_log_while_it_is_checkpointed_and_read(tmp_path: Path) -> None:
    log, appends = tmp_path / "log.db", 100
    with worker(log, "left", appends) as left, worker(log, "right", appends) as right:
        wait_for_first_acknowledgement(log, "left", left)
        store, stop = ReadOnlySqliteEventStore(log), threading.Event()
        seen: list[int] = []
        follower = threading.Thread(daemon=True, target=follow, args=(store, seen, stop))
        follower.start()
        assert [process.wait(WAIT_S) for process in (left, right)] == [0, 0]
    events = read_log(log)
    acknowledged = read_acknowledged(log, "left") + read_acknowledged(log, "right")
    assert problems(acknowledged, events) + torn_appends(events) == []
    assert sum(len(append.ids) for append in acknowledged) == len(events)
    for _ in range(POLLS_MAX):
        if len(seen) >= len(events):
            break
        follower.join(POLL_S)
    stop.set()
    follower.join(WAIT_S)
    store.close()
    assert seen == list(range(1, len(events) + 1))


def follow(store: ReadOnlySqliteEventStore, seen: list[int], stop: threading.Event) -> None:
    for news in store.subscribe(after=BEGINNING, stop=stop):
        if isinstance(news, Batch):
            seen.extend(event.position for event in news.events)


def recorded(position: int, version: int, number: int) -> RecordedEvent:
    at = datetime(2024, 1, 31, tzinfo=UTC)
    stream = StreamName("own", "a")
    return RecordedEvent(Position(position), stream, version, UUID(int=number), "Happened", 1, at, b"", b"")


HISTORY = [recorded(1, 0, 11), recorded(2, 1, 12), recorded(3, 2, 13)]
ACKNOWLEDGED = [Acknowledged(2, (UUID(int=11), UUID(int=12))), Acknowledged(3, (UUID(int=13),))]


def test_the_checker_accepts_a_history_that_holds() -> None:
    assert problems(ACKNOWLEDGED, HISTORY) == []
    assert problems(ACKNOWLEDGED[:1], HISTORY) == [], "an append may be written and never acknowledged"


@pytest.mark.parametrize(
    "log",
    [
        HISTORY[:2],
        HISTORY[1:],
        [HISTORY[0], HISTORY[2]],
        [*HISTORY, recorded(4, 3, 11)],
        [HISTORY[0], replace(HISTORY[2], position=Position(2), version=1), recorded(3, 2, 12)],
        [HISTORY[0], HISTORY[1], replace(HISTORY[2], version=3)],
    ],
    ids=["acknowledged before the commit", "head lost", "half an append", "doubled", "reordered", "a version skipped"],
)
def test_the_checker_finds_a_history_that_does_not_hold(log: list[RecordedEvent]) -> None:
    assert problems(ACKNOWLEDGED, log) != []


def test_the_checker_finds_an_append_that_was_written_in_part() -> None:
    whole = [replace(recorded(n, n, n), payload=b"left/0/2" + bytes(9)) for n in range(3)]
    assert torn_appends(whole) == []
    assert torn_appends(whole[:2]) == ["left/0/2"]
