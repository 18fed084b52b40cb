"""No client takes what others need: limits per key on rate and calls, and a share of the room that all have."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from services.ingest import admission
from services.ingest.admission import Admission
from services.ingest.client_limits import (
    BURST_S,
    CALLS_CONCURRENT,
    STREAMS_CONCURRENT,
    STREAMS_MAX,
    USAGE_PER_SECOND,
    ClientLimits,
)
from services.ingest.intake import Asked
from services.kernel.errors import InvalidInput, Overloaded, Unauthenticated
from services.rpc.authorization import EVERYBODY, parse_keys
from services.rpc.errors import RETRY_AFTER_MS, status_details
from services.rpc.settings import Settings
from tests.ingest_room import Replica, Room, open_room, usage, words


class Time:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def held(room: Admission, client: str, usage_events: int, size_bytes: int) -> Iterator[None]:
    leave = room.enter(client, usage_events, size_bytes)
    yield
    leave()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


def test_a_client_may_send_so_much_a_second_and_a_burst_after_a_pause() -> None:
    time = Time()
    limits = ClientLimits(100, 10, time)
    limits.take("a", 200)

    with pytest.raises(Overloaded) as refused:
        limits.take("a", 1)
    assert refused.value.reason == "CLIENT_RATE_EXCEEDED"
    assert 0 < int(refused.value.metadata[RETRY_AFTER_MS]) <= 11

    time.now_s += 0.5
    limits.take("a", 10)
    time.now_s += 1_000
    limits.take("a", 200)
    with pytest.raises(Overloaded):
        limits.take("a", 1)


def test_a_batch_larger_than_the_burst_is_let_in_and_paid_for_afterwards() -> None:
    time = Time()
    limits = ClientLimits(100, 10, time)
    limits.take("a", 10_000)

    time.now_s += 97
    with pytest.raises(Overloaded) as refused:
        limits.take("a", 1)
    assert 1_000 <= int(refused.value.metadata[RETRY_AFTER_MS]) <= 1_011
    time.now_s += 1.1
    limits.take("a", 1)


def test_what_one_client_sends_costs_no_other_anything() -> None:
    limits = ClientLimits(100, 1, Time())
    limits.take("noisy", 1_000_000)
    limits.take("quiet", 1)
    limits.begin_call("noisy")
    with pytest.raises(Overloaded) as refused:
        limits.begin_call("noisy")
    limits.begin_call("quiet")
    assert refused.value.reason == "CLIENT_CALLS_TOO_MANY"
    limits.end_call("noisy")
    limits.begin_call("noisy")


SPELLINGS = ("gateway", "gate%77ay", "GATEWAY", "gateway/", " gateway", "gateway\u200b", "g\u0430teway", "everybody")


def test_no_way_to_write_a_name_passes_the_rate_of_a_client(room: Room) -> None:
    """What is sent names no client: each spelling of a source, subject or backfill is counted with all others."""
    limits = ClientLimits(len(SPELLINGS) // BURST_S, 10, Time())
    replica = Replica(room.store, room.folder / "a", room.clock, limits=limits)
    replica.start()
    for spelling in SPELLINGS:
        event = usage("e")
        event.source = event.subject = spelling
        assert room.outcomes(replica, event) == ["recorded"]
    for spelling in SPELLINGS:
        event = usage("one too many")
        event.source = event.subject = spelling
        with pytest.raises(Overloaded, match=f'client "{EVERYBODY.name}" may send'):
            room.send(replica, event)
    replica.stop()


def test_no_way_to_write_a_key_makes_another_client_of_it() -> None:
    digest = sha256(b"secret").hexdigest()
    keys = parse_keys(f"producer:ingest:{digest},producer:ingest:{sha256(b'second').hexdigest()}")
    record = "/meterlog.ingest.v1.IngestService/RecordUsage"
    assert {keys.authorize(record, key).name for key in ("secret", "second")} == {"producer"}
    for spelling in ("secret ", "Secret", "secre%74", "secret\x00", '"secret"', "secret,second", digest):
        with pytest.raises(Unauthenticated):
            keys.authorize(record, spelling)
    for name in ("Producer", "producer ", "producer%20", "prod\u200bucer", "producer/2"):
        with pytest.raises(InvalidInput):
            parse_keys(f"{name}:ingest:{digest}")


def test_without_a_rate_nothing_is_counted() -> None:
    limits = ClientLimits(0, 1)
    limits.take("a", 10**9)
    limits.take("a", 10**9)
    assert limits.wait_s("a") == 0


def test_the_limits_are_settings() -> None:
    declared = (USAGE_PER_SECOND, CALLS_CONCURRENT, STREAMS_CONCURRENT)
    limits = ClientLimits.of(Settings(declared, {"METERLOG_CLIENT_USAGE_PER_SECOND": "10"}))
    limits.take("a", 1_000)
    assert limits.wait_s("a") > 0
    assert (STREAMS_CONCURRENT.default, STREAMS_MAX) == ("16", 64)  # as the guides say
    for name, wrong in (
        ("METERLOG_CLIENT_USAGE_PER_SECOND", "-1"),
        ("METERLOG_CLIENT_CALLS_CONCURRENT", "0"),
        ("METERLOG_CLIENT_STREAMS_CONCURRENT", "0"),
    ):
        with pytest.raises(InvalidInput):
            ClientLimits.of(Settings(declared, {name: wrong}))


def test_a_client_over_its_rate_is_refused_and_told_when_to_come_back(room: Room) -> None:
    time = Time()
    limits = ClientLimits(1, 10, time)
    replica = Replica(room.store, room.folder / "a", room.clock, limits=limits)
    replica.start()
    assert room.outcomes(replica, usage("e-1"), usage("e-2")) == ["recorded"] * 2
    with pytest.raises(Overloaded, match=r"wait 1\.000 s"):
        room.send(replica, usage("e-3"))
    time.now_s += 1
    assert room.outcomes(replica, usage("e-3")) == ["recorded"]
    replica.stop()


def test_the_last_quarter_of_the_room_is_for_clients_that_hold_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 80)
    room = Admission()
    with held(room, "noisy", 60, 0):
        with pytest.raises(Overloaded), held(room, "noisy", 1, 0):
            pass
        with held(room, "quiet", 10, 0), held(room, "third", 9, 0):
            with pytest.raises(Overloaded), held(room, "quiet", 1, 0):
                pass
            with pytest.raises(Overloaded), held(room, "fourth", 2, 0):
                pass
    with held(room, "noisy", 80, 0):
        pass


def test_bytes_are_shared_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BYTES_ADMITTED_MAX", 80)
    room = Admission()
    with held(room, "noisy", 1, 60):
        with pytest.raises(Overloaded), held(room, "noisy", 1, 1):
            pass
        with held(room, "quiet", 1, 20):
            pass


def test_who_waits_for_room_goes_on_when_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 8)
    order: list[str] = []

    async def hold_on() -> None:
        room = Admission()

        async def waiting() -> None:
            await room.wait_for_room("b", 8, 0)
            order.append("let in")

        with held(room, "a", 1, 0):
            waiter = asyncio.create_task(waiting())
            await asyncio.sleep(0)
            order.append("freed")
        await waiter

    asyncio.run(hold_on())
    assert order == ["freed", "let in"]


def test_of_twelve_streams_of_a_client_over_its_rate_none_is_refused(room: Room) -> None:
    limits = ClientLimits(1_000, 10)
    replica = Replica(room.store, room.folder / "a", room.clock, limits=limits)

    async def entered() -> int:
        limits.take(EVERYBODY.name, 2_010)
        asked = Asked(usage_events=10, weight=10, size_bytes=1, is_atomic=False, backfill="")
        return len(await asyncio.gather(*[replica.intake.enter(asked) for _ in range(12)]))

    assert room.runner.run(entered()) == 12


def test_a_refused_request_leaves_the_room_as_it_was(room: Room) -> None:
    with room.replica() as replica:
        for _ in range(300):
            with pytest.raises(InvalidInput):
                room.send(replica)
        assert words(room.send(replica, usage("e-1")).results) == ["recorded"]
        assert replica.intake.calls_under_way() == 0


def test_a_client_over_its_limit_is_told_how_long_to_wait_in_the_words_of_grpc() -> None:
    refused = Overloaded("over the limit; wait", metadata={RETRY_AFTER_MS: "1500"})
    status = Status.FromString(status_details(refused))
    retry = RetryInfo()
    assert status.details[-1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1_500
