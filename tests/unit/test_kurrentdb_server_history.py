"""The KurrentDB protocol server under every fault at once: nothing lost, nothing twice, everything in order."""

import threading
from collections.abc import Iterator

import pytest
from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import KurrentDBClientError, WrongCurrentVersionError

from tests.kurrentdb_server import Fault, KurrentServer, Options

WRITERS = 3
EVENTS_EACH = 90
BATCH = 6
DEADLINE_S = 10.0
WAIT_S = 60.0

RATES = {
    Fault.UNAVAILABLE_BEFORE_COMMIT: (0.05, 1),
    Fault.UNAVAILABLE_AFTER_COMMIT: (0.1, 1),
    Fault.TIMEOUT_AFTER_COMMIT: (0.05, 1),
    Fault.NOT_READY: (0.05, 1),
    Fault.SLOW_COMMIT: (0.1, 0.005),
    Fault.SUBSCRIPTION_CUT: (0.6, 40),
    Fault.CONSUMER_TOO_SLOW: (0.2, 70),
    Fault.SUBSCRIPTION_REPEATS: (0.5, 5),
}


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer(options=Options(live_buffer_events=3)) as started:
        for fault, (probability, amount) in RATES.items():
            started.faults.rate(fault, probability, amount=amount)
        yield started


@pytest.mark.parametrize("seed_types", [("odd",), ("odd", "even")])
def test_readers_that_resume_see_each_event_once_in_order(server: KurrentServer, seed_types: tuple[str, ...]) -> None:
    writers = [threading.Thread(target=write, args=(server.url, number), daemon=True) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    wanted = WRITERS * EVENTS_EACH * len(seed_types) // 2
    seen = follow(server.url, seed_types, wanted)
    for writer in writers:
        writer.join(WAIT_S)
    log = server.log.records(0)
    assert seen == [(record.stream, record.revision) for record in log if record.type in seed_types]
    assert [server.log.stream(f"w-{number}").count for number in range(WRITERS)] == [EVENTS_EACH] * WRITERS


def write(url: str, number: int) -> None:
    """Batch after batch, each repeated as it is until it is answered."""
    client = KurrentDBClient(url)
    for start in range(0, EVENTS_EACH, BATCH):
        expected = start - 1 if start else StreamState.NO_STREAM
        events = [NewEvent(type=("even", "odd")[version % 2], data=b"1") for version in range(start, start + BATCH)]
        while True:
            try:
                client.append_to_stream(f"w-{number}", events=events, current_version=expected, timeout=DEADLINE_S)
            except WrongCurrentVersionError:
                raise
            except KurrentDBClientError:
                continue
            break
    client.close()


def follow(url: str, types: tuple[str, ...], wanted: int) -> list[tuple[str, int]]:
    """What a reader sees that keeps the last place that it was told of, and skips what is not behind it."""
    client = KurrentDBClient(url)
    place: int | None = None
    seen: list[tuple[str, int]] = []
    while True:
        try:
            subscription = client.subscribe_to_all(
                commit_position=place,
                filter_include=["|".join(types)],
                window_size=5,
                checkpoint_interval_multiplier=1,
                include_checkpoints=True,
                include_caught_up=True,
                timeout=DEADLINE_S,
            )
            for told in subscription:
                is_event = not (told.is_checkpoint or told.is_caught_up)
                if is_event and (place is None or told.commit_position > place):
                    seen.append((told.stream_name, told.stream_position))
                place = max(place or 0, told.commit_position)
                if len(seen) >= wanted:
                    client.close()
                    return seen
        except KurrentDBClientError:
            continue
