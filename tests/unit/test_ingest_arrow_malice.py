"""Arrow streams that are not what they should be are refused whole, by name, before they cost anything."""

import random
from typing import Any

import pyarrow as pa
import pytest

from services.ingest import arrow_stream
from services.ingest.arrow_stream import stream_sizes
from services.ingest.arrow_usage import validate_stream
from services.ingest.digests import Digests
from services.ingest.group import Group
from services.ingest.usage_columns import UsageColumns
from services.ingest.validate import Validated
from services.kernel.clock import epoch_us
from services.kernel.errors import InvalidInput
from tests.ingest_room import NOON
from tests.sent_arrow import batch, columns, stream

MUTATIONS = 1_500
DIGESTS = Digests(b"secret of a log")


def judged(content: bytes) -> Validated:
    stream_sizes(content)
    return validate_stream(content, epoch_us(NOON), "")


def refusal(content: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        judged(content)
    return refused.value


def with_columns(**said: Any) -> bytes:
    return stream(batch(columns("a", "b", **said)))


SCHEMAS: list[tuple[str, dict[str, Any], str]] = [
    ("no id", {"id": None}, "id"),
    ("a floating value", {"value": [1.5, 2.5]}, "value"),
    ("a value in truth", {"value": [True, False]}, "value"),
    ("a time without zone", {"time": pa.array([1, 2], pa.timestamp("us"))}, "time"),
    ("a time in an impossible zone", {"time": pa.array([1, 2], pa.timestamp("us", "Mars/Olympus"))}, "time"),
    ("a time in a zone outside", {"time": pa.array([1, 2], pa.timestamp("us", "../../etc/passwd"))}, "time"),
    ("a time in an impossible offset", {"time": pa.array([1, 2], pa.timestamp("us", "+99:99"))}, "time"),
    ("a floating time", {"time": [1.0, 2.0]}, "time"),
    ("a numeric id", {"id": [1, 2]}, "id"),
    ("a nested subject", {"subject": [["a"], ["b"]]}, "subject"),
    ("a dictionary of numbers", {"type": pa.array([1, 2]).dictionary_encode()}, "type"),
    ("a floating property", {"p_size": [1.5, 2.5]}, "p.size"),
    ("a numeric property", {"p_size": [1, 2]}, "p.size"),
    ("a property of an impossible name", {"p_a b": ["x", "y"]}, "p.a b"),
    ("a column that is nothing", {"region": ["x", "y"]}, "region"),
]


@pytest.mark.parametrize(("said", "column"), [case[1:] for case in SCHEMAS], ids=[case[0] for case in SCHEMAS])
def test_a_wrong_column_is_named(said: dict[str, Any], column: str) -> None:
    error = refusal(with_columns(**said))

    assert (error.reason, error.field) == ("ARROW_SCHEMA", f"arrow_ipc.{column}")
    assert column in error.message


def test_every_wrong_column_is_named_and_floats_are_told_what_to_send() -> None:
    error = refusal(with_columns(value=[1.5, 2.5], time=[1.0, 2.0], other=["x", "y"]))

    assert all(name in error.message for name in ("time", "value", "other"))
    assert "send decimal, integer or text" in error.message


def test_a_column_twice_and_a_column_that_is_also_a_constant_are_refused() -> None:
    said = columns("a")
    twice = pa.RecordBatch.from_arrays([*said.values(), said["id"]], names=[*said, "id"])

    assert "2 times" in refusal(stream(twice)).message
    assert "too" in refusal(stream(batch(said, {"source": "gateway"}))).message


def test_too_many_property_columns_are_refused() -> None:
    assert "send at most 256" in refusal(with_columns(**{f"p_k{n}": ["x", "x"] for n in range(257)})).message


def test_a_dictionary_with_a_null_entry_is_refused() -> None:
    null_entry = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["x", None]))

    assert "null entry" in refusal(with_columns(subject=null_entry)).message


def test_an_index_outside_of_its_dictionary_is_refused() -> None:
    outside = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), ["x", "y"], safe=False)

    assert refusal(with_columns(subject=outside)).reason == "ARROW_UNREADABLE"


def test_text_that_is_not_utf_8_is_refused() -> None:
    broken = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))

    assert refusal(with_columns(subject=broken)).reason == "ARROW_UNREADABLE"


def test_a_stream_that_ends_anywhere_before_its_end_is_refused() -> None:
    """Without its end a stream may lack whole record batches, and nobody would miss them."""
    whole = stream(batch(columns("a")), batch(columns("b")))

    reasons = {refusal(whole[:size]).reason for size in range(0, len(whole), 7)}

    assert reasons == {"ARROW_TRUNCATED", "ARROW_UNREADABLE"}
    assert refusal(whole[:-8]).reason == "ARROW_TRUNCATED"
    assert refusal(whole + b"x").reason == "ARROW_TRUNCATED"
    assert refusal(whole + whole).reason == "ARROW_TRUNCATED"


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"{}", bytes(64), b"\xff" * 64, b"PAR1" * 20])
def test_what_is_no_stream_at_all_is_refused(content: bytes) -> None:
    assert refusal(content).reason in ("ARROW_TRUNCATED", "ARROW_UNREADABLE", "BATCH_SIZE")


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compression_bomb_is_refused_unopened(compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = with_columns(subject=["x" * 40_000_000, "y" * 40_000_000])
    small = stream(batch(columns("a", "b", subject=["x" * 40_000_000, "y" * 40_000_000])), compression=compression)
    assert len(small) < 400_000 < len(bomb)
    monkeypatch.setattr(pa.ipc, "open_stream", lambda *_, **__: pytest.fail("it must not be opened"))

    assert refusal(small).reason == "ARROW_TOO_LARGE"
    assert refusal(bomb).reason == "ARROW_TOO_LARGE"


def test_a_dictionary_that_is_added_to_again_and_again_counts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each addition makes Arrow copy the dictionary: a thousand small ones would come to gigabytes."""
    texts = [f"{number:0100d}" for number in range(100)]
    parts = [
        batch(columns(*["a"] * count, subject=pa.DictionaryArray.from_arrays(pa.array(range(count)), texts[:count])))
        for count in range(1, 101)
    ]
    content = stream(*parts, emit_dictionary_deltas=True)
    assert stream_sizes(content).size_bytes > 50 * 100 * 100
    monkeypatch.setattr(arrow_stream, "BYTES_MAX", len(content) * 2)

    assert refusal(content).reason == "ARROW_TOO_LARGE"


def test_a_large_dictionary_that_many_batches_refer_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_stream, "DICTIONARY_ENTRIES_MAX", 1_000)
    subject = pa.DictionaryArray.from_arrays(pa.array([0]), [str(number) for number in range(100)])
    part = batch(columns("a", subject=subject))

    assert judged(stream(*[part] * 5)).count() == 5
    assert refusal(stream(*[part] * 15)).reason == "ARROW_TOO_LARGE"


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_stream, "MESSAGES_MAX", 10)

    assert refusal(stream(*[batch(columns("a"))] * 10)).reason == "ARROW_TOO_LARGE"


def test_ids_from_a_dictionary_of_few_long_ones_are_refused() -> None:
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000), ["x" * 50_000])

    assert refusal(stream(batch({**columns(*["a"] * 2_000), "id": ids}))).field == "arrow_ipc.id"


def test_whatever_is_done_to_the_bytes_of_a_stream_it_is_refused_or_judged_by_row() -> None:
    chance = random.Random(4)
    parts = [batch(columns(*"abcd", p_region=pa.array(["eu", None, "us", "eu"]).dictionary_encode()))] * 2
    wholes = [stream(*parts), stream(*parts, compression="zstd"), stream(*parts, compression="lz4")]
    refused = 0
    for _ in range(MUTATIONS):
        mutated = bytearray(chance.choice(wholes))
        for _ in range(chance.choice((1, 1, 2, 5))):
            mutate(mutated, chance)
        try:
            require_storable(judged(bytes(mutated)))
        except InvalidInput:
            refused += 1
    assert MUTATIONS // 2 < refused < MUTATIONS


def mutate(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    number = chance.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63, chance.randrange(10**6)))
    match chance.randrange(5):
        case 0 | 1:
            content[at] ^= 1 << chance.randrange(8)
        case 2:
            at &= ~7
            content[at : at + 8] = number.to_bytes(8, "little")
        case 3:
            del content[at : min(at + chance.randrange(1, 32), len(content) - 1)]
        case _:
            content[at:at] = content[:16]


def require_storable(validated: Validated) -> None:
    """What is called valid can be recorded."""
    assert isinstance(validated.usage, UsageColumns)
    found = validated.usage.batch
    found.validate(full=True)
    if len(validated.rows):
        group = Group(found, DIGESTS.keys(found), DIGESTS.contents(found))
        named = set(zip(found.column("source").to_pylist(), found.column("id").to_pylist(), strict=True))
        assert sum(len(piece.rows) for piece in group.pieces(group.missing())) == len(named)
