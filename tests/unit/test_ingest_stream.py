"""A stream of batches: each answered in its turn when it is durable, refused ones by a refusal, none read too early."""

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from meterlog.ingest.v1.ingest_pb2 import RecordUsageStreamRequest, RecordUsageStreamResponse, UsageEvent
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from services.ingest import admission, batch_stream, intake
from services.ingest.batch_stream import BatchStream, Draining, Entry
from services.ingest.server import INGEST_SERVICE
from services.kernel.errors import Unavailable
from tests.ingest_room import WAIT_S, Replica, Room, open_room, until, usage, words
from tests.served import served


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


@contextmanager
def connected(replica: Replica) -> Iterator[IngestServiceStub]:
    with served([(INGEST_SERVICE, replica.face.register)]) as address, grpc.insecure_channel(address) as channel:
        yield IngestServiceStub(channel)


def batches(*parts: Sequence[UsageEvent], **request: object) -> list[RecordUsageStreamRequest]:
    return [
        RecordUsageStreamRequest(sequence=number, events=events, **request)  # type: ignore[arg-type]  # its fields
        for number, events in enumerate(parts, start=1)
    ]


def sent(replica: Replica, requests: Iterable[RecordUsageStreamRequest]) -> list[RecordUsageStreamResponse]:
    with connected(replica) as stub:
        return list(stub.RecordUsageStream(iter(requests), timeout=WAIT_S))


def test_batches_are_answered_in_their_order_with_receipts(room: Room, replica: Replica) -> None:
    parts = [[usage(f"e-{number}"), usage("shared")] for number in range(100)]

    answers = sent(replica, batches(*parts))

    assert [answer.sequence for answer in answers] == list(range(1, 101))
    assert [words(answer.results) for answer in answers] == [["recorded"] * 2, *[["recorded", "duplicate"]] * 99]
    positions = {event.position for event in room.log()}
    assert {receipt.position for answer in answers for receipt in answer.receipts} == positions
    assert len(room.log()) < 100, "several batches under way share an event of the log"
    assert sorted(room.recorded_ids()) == sorted(["shared", *[f"e-{number}" for number in range(100)]])


def test_a_refused_batch_is_answered_and_the_stream_goes_on(replica: Replica) -> None:
    requests = [
        *batches([usage("e-1")], [], [usage("", "1")]),
        RecordUsageStreamRequest(sequence=4, events=[usage("e-2")], backfill="none"),
        RecordUsageStreamRequest(sequence=5, events=[usage("e-3"), usage("e-3", "2")], atomic=True),
        RecordUsageStreamRequest(sequence=6, events=[usage("e-4")]),
    ]

    answers = sent(replica, requests)

    assert [words(answer.results) for answer in answers] == [
        ["recorded"], [], ["invalid"], [], ["not_recorded", "conflict"], ["recorded"],
    ]  # fmt: skip
    refusals = [(answer.refusal.code, answer.refusal.reason) for answer in answers if answer.HasField("refusal")]
    assert refusals == [(3, "BATCH_SIZE"), (5, "BACKFILL_NOT_FOUND")]
    assert all(answer.refusal.message for answer in answers if answer.HasField("refusal"))


def test_a_stream_without_batches_ends_well(replica: Replica) -> None:
    assert sent(replica, []) == []


def test_a_message_that_cannot_be_read_ends_the_stream_behind_the_answers_to_those_before_it(
    room: Room, replica: Replica
) -> None:
    (request,) = batches([usage("e-1")])
    with served([(INGEST_SERVICE, replica.face.register)]) as address, grpc.insecure_channel(address) as channel:
        raw: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{INGEST_SERVICE}/RecordUsageStream"
        )
        answers = raw(iter([request.SerializeToString(), b"\xff" * 9]), timeout=WAIT_S)
        assert words(RecordUsageStreamResponse.FromString(next(answers)).results) == ["recorded"]
        with pytest.raises(grpc.RpcError) as refusal:
            next(answers)

    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be read" in str(refusal.value.details())
    assert room.recorded_ids() == ["e-1"]


def test_a_stream_waits_where_a_call_would_be_refused(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 8)

    answers = sent(replica, batches(*[[usage(f"e-{n}-{row}") for row in range(6)] for n in range(20)]))

    assert [words(answer.results) for answer in answers] == [["recorded"] * 6] * 20
    assert len(room.recorded()) == 120


def test_a_stream_that_waits_too_long_is_told_so(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 1)
    monkeypatch.setattr(intake, "TURN_WAIT_S", 0.0)

    (answer,) = sent(replica, batches([usage("e-1"), usage("e-2")]))

    assert (answer.refusal.code, answer.refusal.reason) == (8, "OVERLOADED")


def test_of_twelve_streams_that_want_the_same_room_none_is_refused(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 8)
    with connected(replica) as stub:
        calls = [
            stub.RecordUsageStream(
                iter(batches(*[[usage(f"e-{stream}-{batch}-{row}") for row in range(6)] for batch in range(4)])),
                timeout=WAIT_S,
            )
            for stream in range(12)
        ]
        answers = [answer for call in calls for answer in call]

    assert [words(answer.results) for answer in answers] == [["recorded"] * 6] * 48
    assert len(room.recorded()) == 12 * 4 * 6


def test_when_too_much_waits_what_has_no_room_is_refused_at_once(
    room: Room, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "USAGE_EVENTS_ADMITTED_MAX", 1)
    monkeypatch.setattr(admission, "WAITING_BYTES_MAX", 0)
    monkeypatch.setattr(intake, "TURN_WAIT_S", 10 * WAIT_S)

    too_much, small = sent(replica, batches([usage("e-1"), usage("e-2")], [usage("e-3")]))

    assert (too_much.refusal.code, too_much.refusal.reason) == (8, "OVERLOADED")
    assert words(small.results) == ["recorded"]
    assert room.recorded_ids() == ["e-3"]


def test_a_producer_that_goes_away_leaves_nothing_behind(room: Room, replica: Replica) -> None:
    go_on = threading.Event()

    def forever() -> Iterator[RecordUsageStreamRequest]:
        yield from batches([usage("e-1")])
        go_on.wait(WAIT_S)

    with connected(replica) as stub:
        call = stub.RecordUsageStream(forever(), timeout=WAIT_S)
        assert words(next(call).results) == ["recorded"]
        call.cancel()
        go_on.set()
        until(lambda: not replica.intake.calls_under_way())
        assert words(next(stub.RecordUsageStream(iter(batches([usage("e-1")])), timeout=WAIT_S)).results) == [
            "duplicate"
        ]


def test_a_service_that_stops_answers_what_it_has_read_and_no_more(room: Room, replica: Replica) -> None:
    go_on = threading.Event()

    def forever() -> Iterator[RecordUsageStreamRequest]:
        yield from batches([usage("e-1")], [usage("e-2")])
        go_on.wait(WAIT_S)

    loops: list[asyncio.AbstractEventLoop] = []

    def register(server: grpc.aio.Server) -> None:
        loops.append(asyncio.get_running_loop())
        replica.face.register(server)

    with served([(INGEST_SERVICE, register)]) as address, grpc.insecure_channel(address) as channel:
        call = IngestServiceStub(channel).RecordUsageStream(forever(), timeout=WAIT_S)
        answers = [next(call), next(call)]
        loops[0].call_soon_threadsafe(replica.face.drain)
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
        go_on.set()

    assert [words(answer.results) for answer in answers] == [["recorded"], ["recorded"]]
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "again" in (ended.value.details() or "")


def test_no_more_batches_are_read_than_may_be_under_way() -> None:
    read: list[int] = []

    async def requests() -> object:
        for number in range(100):
            read.append(number)
            yield number

    async def never(_number: int, _entry: Entry) -> int:
        await asyncio.Event().wait()
        return 0

    async def at_once(_number: int) -> Entry:
        return Entry(lambda: None)

    async def read_for_a_while() -> None:
        stream = BatchStream(at_once, never, Draining())
        first = asyncio.ensure_future(anext(stream.answers(requests())))  # type: ignore[arg-type]  # numbers
        for _ in range(1_000):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(read_for_a_while())
    assert len(read) == batch_stream.BATCHES_UNDER_WAY_MAX + 1, "one more is at hand, and waits"


def test_what_was_read_is_answered_when_the_service_stops_in_the_middle() -> None:
    async def drained() -> list[int]:
        draining, gate = Draining(), asyncio.Event()

        async def requests() -> object:
            for number in range(3):
                yield number
            draining.begin()
            await asyncio.Event().wait()

        async def answer(number: int, _entry: Entry) -> int:
            await gate.wait()
            return number

        async def at_once(_number: int) -> Entry:
            return Entry(lambda: None)

        stream = BatchStream(at_once, answer, draining)
        asyncio.get_running_loop().call_later(0, gate.set)
        answers = stream.answers(requests())  # type: ignore[arg-type]  # numbers
        answered = [await anext(answers) for _ in range(3)]
        with pytest.raises(Unavailable):
            await anext(answers)
        return answered

    assert asyncio.run(drained()) == [0, 1, 2]
