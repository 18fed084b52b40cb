"""Usage in columns is recorded exactly as usage in rows is, and every row is judged by the same rules."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.ingest.v1.ingest_pb2 import RecordUsageColumnsRequest, UsageEvent
from services.eventstore.event import PAYLOAD_BYTES_MAX
from services.ingest.arrow_stream import stream_sizes
from services.ingest.arrow_usage import validate_stream
from services.ingest.validate import validate
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from tests.ingest_room import NOON, Replica, Room, open_room, properties_of, usage, usage_batch, words
from tests.sent_arrow import MINUTE_AGO_US, UTC_TIME, batch, columns, counts, send, stream


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
def replica(room: Room) -> Iterator[Replica]:
    with room.replica() as opened:
        yield opened


def test_columns_stand_in_the_log_as_rows_do(room: Room, replica: Replica) -> None:
    response = send(room, replica, columns("e-1", "e-2", p_region=["eu", None], p_never=pa.nulls(2, pa.utf8())))

    assert counts(response) == (2, 0, 0, 0, 0)
    assert room.recorded() == [("gateway", "e-1", "1"), ("gateway", "e-2", "1")]
    assert properties_of(room.log()[0]) == [{"region": "eu"}, {}]
    assert usage_batch(room.log()[0]).schema.names[-1] == "p.region", "a property that nobody has takes no column"
    assert response.receipts[0].leaf == room.log()[0].leaf


def test_the_same_usage_through_the_other_door_is_a_duplicate(room: Room, replica: Replica) -> None:
    room.send(replica, usage("e-1", region="eu"), usage("e-2", "2"))

    response = send(room, replica, columns("e-1", "e-2", "e-3", p_region=["eu", None, None]))

    assert counts(response) == (1, 1, 1, 0, 0)
    assert [(found.row, found.result.reason) for found in response.exceptions] == [
        (1, "OTHER_CONTENT_RECORDED"),
        (0, ""),
    ]
    assert room.outcomes(replica, usage("e-3")) == ["duplicate"]


def test_a_column_may_come_in_any_of_its_types(room: Room, replica: Replica) -> None:
    forms: list[dict[str, Any]] = [
        {"time": pa.array([MINUTE_AGO_US], pa.int64())},
        {"time": pa.array([MINUTE_AGO_US // 1_000], pa.timestamp("ms", "Asia/Kathmandu"))},
        {"time": pa.array([MINUTE_AGO_US // 1_000_000], pa.timestamp("s", "+05:45"))},
        {"time": pa.array([MINUTE_AGO_US * 1_000 + 999], pa.timestamp("ns", "UTC"))},
        {"value": None},
        {"value": pa.nulls(1, pa.utf8())},
        {"value": ["1.000"]},
        {"value": pa.array(["001"], pa.large_utf8()).dictionary_encode()},
        {"value": pa.array([1], pa.uint8())},
        {"value": pa.array([Decimal(1)], pa.decimal256(60, 20))},
        {"value": pa.array([Decimal(1)], pa.decimal32(9, 2))},
        {"id": pa.array(["e-1"], pa.large_utf8())},
        {"id": pa.array(["e-1"]).dictionary_encode()},
        {"source": pa.array(["gateway"], pa.large_utf8()).dictionary_encode()},
        {"source": pa.DictionaryArray.from_arrays(pa.array([1], pa.uint8()), ["unused", "gateway", "gateway"])},
    ]
    room.send(replica, usage("e-1"))

    assert [counts(send(room, replica, columns("e-1", **form))) for form in forms] == [(0, 1, 0, 0, 0)] * len(forms)


def test_what_is_the_same_for_all_rows_may_be_said_once(room: Room, replica: Replica) -> None:
    said = columns("e-1", source=None, type=None, subject=None)
    once = {"source": "gateway", "type": "llm.completion", "subject": "tenant-1", "pandas": "{}"}

    response = send(room, replica, stream(batch(said, once)))

    assert counts(response) == (1, 0, 0, 0, 0)
    assert room.outcomes(replica, usage("e-1")) == ["duplicate"]


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"compression": "lz4"}])
def test_rows_are_counted_over_all_record_batches(room: Room, replica: Replica, options: dict[str, str]) -> None:
    parts = [batch(columns(*ids, p_region=pa.array(texts).dictionary_encode())) for ids, texts in (
        (("e-1", "e-2"), ["eu", "us"]), (("", "e-3"), ["us", "asia"]), (("e-4",), ["eu"]),
    )]  # fmt: skip

    response = send(room, replica, stream(*parts, **options))

    assert counts(response) == (4, 0, 0, 1, 0)
    assert [(found.row, found.result.reason) for found in response.exceptions] == [(2, "ID_EMPTY")]
    assert properties_of(room.log()[0]) == [{"region": name} for name in ("eu", "us", "asia", "eu")]


TIMES = {
    "now": 0,
    "a day ahead": 86_400_000_000,
    "more than a day ahead": 86_400_000_001,
    "before the year 1": -62_135_596_800_000_001 - epoch_us(NOON),
    "after the year 9999": 253_402_300_800_000_000 - epoch_us(NOON),
}
TEXTS = [
    "",
    "x" * 256,
    "x" * 257,
    "a\nb",
    "a\0",
    "\x85",
    "é" * 256,
    "é" * 257,
    "\x7f",
    "ÂÃ",
    " a/b:c\u2028✓ ",
    "backfill/a/b",
]
VALUES = [
    "1",
    "NaN",
    "1e3",
    "1,5",
    "٣",
    "+1",
    "1\n",
    "1.",
    ".5",
    "-",
    "1" * 27,
    "0.1234567890123",
    "-" + "9" * 26 + "." + "9" * 12,
]


def judged(event: UsageEvent) -> tuple[str, str, str] | None:
    problem = validate([event], epoch_us(NOON)).problems.get(0)
    return (problem.reason, problem.field, problem.message) if problem else None


def judged_in_columns(**said: Any) -> tuple[str, str, str] | None:
    """The middle one of three rows; its neighbours are well formed."""
    three = {name: [good, column, good] for name, (good, column) in said.items()}
    ids = three.pop("id", ["a", "b", "c"])
    if "time" in three:
        three["time"] = pa.array(three["time"], pa.int64())
    validated = validate_stream(stream(batch(columns(*ids, **three))), epoch_us(NOON), "")
    assert set(validated.problems) <= {1}, "a malformed row never touches its neighbours"
    assert validated.rows.tolist() == [row for row in range(3) if row not in validated.problems]
    problem = validated.problems.get(1)
    return (problem.reason, problem.field, problem.message) if problem else None


@pytest.mark.parametrize("field", ["id", "source", "type", "subject"])
@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_judged_as_in_rows(field: str, text: str) -> None:
    event = usage("b")
    setattr(event, field, text)

    assert judged_in_columns(**{field: ("good", text)}) == judged(event)


@pytest.mark.parametrize("text", VALUES)
def test_values_are_judged_as_in_rows(text: str) -> None:
    assert judged_in_columns(value=("1", text)) == judged(usage("b", text))


@pytest.mark.parametrize("offset_us", TIMES.values(), ids=TIMES)
def test_times_are_judged_as_in_rows(offset_us: int) -> None:
    seconds, rest = divmod(epoch_us(NOON) + offset_us, 1_000_000)
    event = usage("b")
    event.time.CopyFrom(Timestamp(seconds=seconds, nanos=rest * 1_000))

    assert judged_in_columns(time=(MINUTE_AGO_US, epoch_us(NOON) + offset_us)) == judged(event)


@pytest.mark.parametrize("text", ["", "✓" * 1_024, "x" * 1_025, "a\0b", "a\nb"])
def test_properties_are_judged_as_in_rows(text: str) -> None:
    assert judged_in_columns(p_note=("good", text)) == judged(usage("b", note=text))


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1_000), ("ns", 1_000_000_000)])
def test_times_of_every_unit_keep_the_bounds(unit: str, per_second: int) -> None:
    ahead = int((NOON + timedelta(days=2)).timestamp()) * per_second
    past = int(datetime(1700, 1, 1, tzinfo=UTC).timestamp()) * per_second
    far = 2**63 - 1
    times = pa.array([ahead, past, far, None], pa.timestamp(unit, "UTC"))

    validated = validate_stream(stream(batch(columns("a", "b", "c", "d", time=times))), epoch_us(NOON), "")

    reasons = {row: problem.reason for row, problem in validated.problems.items()}
    last = "TIME_IN_FUTURE" if unit == "ns" else "TIME_OUT_OF_RANGE"
    assert reasons == {0: "TIME_IN_FUTURE", 2: last, 3: "TIME_MISSING"}
    assert validated.usage.batch.column("time").cast(pa.int64()).to_pylist() == [  # type: ignore[union-attr]  # columns
        past * 1_000_000 // per_second
    ]


def test_nulls_in_required_columns_are_answered_by_row() -> None:
    lacks = [{name: [good, None]} for name, good in (("source", "s"), ("type", "t"), ("subject", "c"))]
    lacks += [{"time": pa.array([MINUTE_AGO_US, None], UTC_TIME)}, {"id": ["a", None]}]

    found = [
        validate_stream(stream(batch({**columns("a", "b"), **lack})), epoch_us(NOON), "").problems[1].reason
        for lack in lacks
    ]

    assert found == ["SOURCE_EMPTY", "TYPE_EMPTY", "SUBJECT_EMPTY", "TIME_MISSING", "ID_EMPTY"]


@pytest.mark.parametrize("kind", [pa.decimal128(38, 0), pa.decimal128(38, 13), pa.decimal256(76, 20)])
def test_decimals_with_too_many_digits_are_answered_by_row(kind: pa.DataType) -> None:
    too_much = {0: Decimal("1" * 27), 13: Decimal("0.1234567890123"), 20: Decimal("0." + "1" * 20)}[kind.scale]
    values = pa.array([Decimal(2), too_much, None], kind)

    validated = validate_stream(stream(batch(columns("a", "b", "c", value=values))), epoch_us(NOON), "")

    assert {row: problem.reason for row, problem in validated.problems.items()} == {1: "VALUE_TOO_MANY_DIGITS"}
    assert validated.problems[1].message == judged(usage("b", format(too_much, "f")))[2]  # type: ignore[index]  # it is wrong
    assert validated.usage.batch.column("value").to_pylist() == [Decimal(2), Decimal(1)]  # type: ignore[union-attr]  # columns


def test_a_row_with_too_many_properties_is_answered_by_itself(room: Room, replica: Replica) -> None:
    many = {f"p_k{number}": ["x", "x" if number < 64 else None] for number in range(65)}

    response = send(room, replica, columns("a", "b", **many))

    assert counts(response) == (1, 0, 0, 1, 0)
    assert response.exceptions[0].result.reason == "PROPERTIES_TOO_MANY"


def test_the_largest_stream_is_recorded_whole_in_a_few_events_of_the_log(room: Room, replica: Replica) -> None:
    ids = [f"{number:032x}" for number in range(50_000)]
    sent = stream(batch(columns(*ids, p_region=pa.array([f"r{number % 20}" for number in range(50_000)]))))

    assert counts(send(room, replica, sent)) == (50_000, 0, 0, 0, 0)
    assert counts(send(room, replica, sent)) == (0, 50_000, 0, 0, 0)
    assert room.recorded_ids() == ids
    assert all(len(event.payload) <= PAYLOAD_BYTES_MAX for event in room.log())
    assert len(room.log()) <= 4


def test_of_many_exceptions_the_worst_thousand_are_told(room: Room, replica: Replica) -> None:
    send(room, replica, columns(*[f"e-{row}" for row in range(1_500)]))
    values = ["1"] * 1_500 + ["x"] * 10
    values[1_499] = "2"

    response = send(room, replica, columns(*[f"e-{row}" for row in range(1_510)], value=values))

    assert counts(response) == (0, 1_499, 1, 10, 0)
    assert len(response.exceptions) == 1_000
    assert [found.row for found in response.exceptions[:12]] == [*range(1_499, 1_510), 0]


def test_columns_are_divided_among_partitions_and_answered_in_their_order(room: Room) -> None:
    sources = [f"source-{number % 20}" for number in range(200)]
    said = columns(*[str(number) for number in range(200)], source=sources)
    with room.replica(partitions=4) as replica:
        first = send(room, replica, said)
        again = send(room, replica, said)

    assert (counts(first), counts(again)) == ((200, 0, 0, 0, 0), (0, 200, 0, 0, 0))
    assert {receipt.stream for receipt in first.receipts} == {f"usage-{number}" for number in range(4)}
    assert len(room.recorded(4)) == 200
    assert [found.row for found in again.exceptions] == list(range(200))


def test_rows_and_columns_that_arrive_together_share_an_event_of_the_log(room: Room, replica: Replica) -> None:
    async def at_once() -> list[Any]:
        rows = replica.send(usage("e-1", model="m"), usage("e-2"))
        sent = stream(batch(columns("e-2", "e-3", p_region=["eu", "eu"])))
        asked = replica.face.RecordUsageColumns(RecordUsageColumnsRequest(arrow_ipc=sent), None)  # type: ignore[arg-type]  # no context
        return list(await asyncio.gather(rows, asked))

    by_row, by_column = room.runner.run(at_once())

    assert (words(by_row.results), counts(by_column)) == (["recorded", "recorded"], (1, 0, 1, 0, 0))
    assert properties_of(room.log()[0]) == [{"model": "m"}, {}, {"region": "eu"}]


@pytest.mark.parametrize("count", [0, 50_001])
def test_an_empty_and_an_oversized_stream_are_refused_whole(count: int) -> None:
    with pytest.raises(InvalidInput, match="send 1 to 50000") as refused:
        stream_sizes(stream(batch(columns(*["x"] * count))))
    assert refused.value.reason == "BATCH_SIZE"
