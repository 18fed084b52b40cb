"""Which usage events are the same one, and which say the same; live and read back from the log alike."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.eventstore.event import NewEvent, StreamName
from services.eventstore.log_settings import log_settings
from services.eventstore.memory import MemoryEventStore
from services.eventstore.usage_batch import TEXT, decode_usage, encode_usage, usage_batch_of, usage_schema
from services.ingest import multilinear
from services.ingest.digests import Digests
from services.ingest.log_secret import log_secret
from services.ingest.multilinear import TEXT_BYTES_MAX
from services.kernel.clock import SimulatedClock
from services.kernel.errors import Corrupt
from services.kernel.quantity import add
from tests.ingest_room import NOON

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
IDENTIFIERS = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6),
    st.builds(str.__mul__, st.sampled_from("ab"), st.integers(1, 256)),
)
VALUES = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**25), max_value=10**25)
ROWS = st.tuples(
    IDENTIFIERS,
    IDENTIFIERS,
    IDENTIFIERS,
    IDENTIFIERS,
    st.integers(-(10**16), 10**16),
    VALUES,
    st.dictionaries(st.sampled_from(["a", "b", "a.b", "_"]), TEXTS, max_size=3),
)
Row = tuple[str, str, str, str, int, Decimal, Mapping[str, str]]

SECRET = b"the secret of a log"
DIGESTS = Digests(SECRET)


def batch_of(*rows: Row) -> pa.RecordBatch:
    return usage_batch_of(*(list(column) for column in zip(*rows, strict=True)))


def keys(batch: pa.RecordBatch) -> list[bytes]:
    return [key.tobytes() for key in DIGESTS.keys(batch)]


def contents(batch: pa.RecordBatch) -> list[int]:
    said: list[int] = DIGESTS.contents(batch).tolist()
    return said


def content(**changes: object) -> int:
    row = {"source": "s", "type": "t", "subject": "c", "id": "i", "time": 7, "value": Decimal("12.5"), "properties": {}}
    return contents(batch_of(tuple((row | changes).values())))[0]  # type: ignore[arg-type]  # a row by names


def key(source: str, id: str) -> bytes:  # noqa: A002 (the field's name)
    return keys(batch_of((source, "t", "c", id, 0, Decimal(1), {})))[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=40))
def test_a_batch_read_back_from_the_log_has_the_digests_it_had_live(rows: list[Row]) -> None:
    live = batch_of(*rows)

    stored = decode_usage(encode_usage(live))

    assert keys(stored) == keys(live)
    assert contents(stored) == contents(live)


@settings(deadline=None, max_examples=60)
@given(ROWS, ROWS)
def test_a_usage_event_has_the_same_digests_whatever_its_neighbours(row: Row, neighbour: Row) -> None:
    alone, together = batch_of(row), batch_of(neighbour, row, neighbour)

    assert keys(together)[1] == keys(alone)[0]
    assert contents(together)[1] == contents(alone)[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=20), st.data())
def test_a_part_of_a_batch_has_the_digests_of_the_whole(rows: list[Row], data: st.DataObject) -> None:
    whole = batch_of(*rows)
    start = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(start, len(rows)))

    part = whole.slice(start, end - start)

    assert keys(part) == keys(whole)[start:end]
    assert contents(part) == contents(whole)[start:end]


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=20), st.integers(0, 200))
def test_columns_worked_on_together_have_the_digests_they_have_alone(rows: list[Row], together_max: int) -> None:
    whole = batch_of(*rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(multilinear, "TOGETHER_TEXTS_MAX", 0)
        alone = keys(whole), contents(whole)
        patched.setattr(multilinear, "TOGETHER_TEXTS_MAX", together_max)
        assert (keys(whole), contents(whole)) == alone


def test_a_text_too_long_to_be_worked_on_with_others_has_the_same_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("s", "t", "c", "i", 0, Decimal(1), {"a": "x" * 1_024, "b": "y"})
    before = contents(batch_of(row))
    monkeypatch.setattr(multilinear, "TOGETHER_TEXTS_MAX", 0)
    assert contents(batch_of(row)) == before


@settings(deadline=None, max_examples=60)
@given(ROWS, ROWS)
def test_digests_are_equal_only_for_equal_facts(one: Row, other: Row) -> None:
    first, second = batch_of(one), batch_of(other)

    assert (keys(first) == keys(second)) == (one[0::3][:2] == other[0::3][:2])
    said, said_by_other = (row[1:3] + row[4:] for row in (one, other))
    assert (contents(first) == contents(second)) == (said == said_by_other)


def test_the_way_a_number_is_written_does_not_matter() -> None:
    assert content(value=Decimal("12.5")) == content(value=Decimal("0012.500000000000"))
    assert content(value=Decimal(0)) == content(value=Decimal("-0.00"))


def test_the_smallest_and_the_largest_numbers_differ_from_their_neighbours() -> None:
    smallest, largest = Decimal("0.000000000001"), Decimal("9" * 26 + "." + "9" * 12)

    assert content(value=smallest) not in {
        content(value=Decimal(0)),
        content(value=-smallest),
        content(value=add(smallest, smallest)),
    }
    assert content(value=largest) != content(value=add(largest, -smallest))


def test_each_part_of_what_a_usage_event_says_matters() -> None:
    changed = [
        content(type="u"),
        content(subject="d"),
        content(type="c", subject="t"),
        content(time=8),
        content(value=Decimal("12.6")),
        content(properties={"a": "1"}),
        content(properties={"a": ""}),
        content(properties={"b": ""}),
        content(properties={"a": "1", "b": "2"}),
        content(properties={"b": "1", "a": "2"}),
        content(properties={"b": "1", "a": "1"}),
        content(properties={"b": "2", "a": "2"}),
    ]

    assert len({content(), *changed}) == len(changed) + 1


def test_the_order_of_properties_does_not_matter() -> None:
    assert content(properties={"a": "1", "b": "2"}) == content(properties={"b": "2", "a": "1"})


def test_source_and_id_are_not_mixed_up() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key("a", "b") != key("b", "a")
    assert content(source="x", id="y") == content(), "who sent it under which id is no part of what it says"


def test_a_text_is_not_taken_for_one_that_goes_on_with_nothing() -> None:
    names = ["a" * count for count in range(1, 257)] + ["a" + "\0" * count for count in range(1, 9)]

    assert len({key("s", name) for name in names}) == len(names)


def test_texts_of_very_different_lengths_have_the_digests_that_each_has_alone() -> None:
    lengths = [1, 256, 3, 40, 255, 2] * 300
    names = [f"{row:x}" + "x" * length for row, length in enumerate(lengths)]
    rows: list[Row] = [
        ("s", "t", "c", name, row, Decimal(1), {"p": "€" * lengths[row]}) for row, name in enumerate(names)
    ]

    together = batch_of(*rows)

    for row in range(0, len(rows), 97):
        assert keys(together)[row] == keys(batch_of(rows[row]))[0]
        assert contents(together)[row] == contents(batch_of(rows[row]))[0]


def test_another_log_has_other_digests() -> None:
    batch, other = batch_of(("s", "t", "c", "i", 0, Decimal(1), {})), Digests(b"the secret of another log")

    assert other.keys(batch).tobytes() != DIGESTS.keys(batch).tobytes()
    assert other.contents(batch).tobytes() != DIGESTS.contents(batch).tobytes()
    assert other.fingerprint != DIGESTS.fingerprint


def test_a_property_that_is_null_in_the_dictionary_is_no_property() -> None:
    batch = batch_of(("s", "t", "c", "i", 7, Decimal("12.5"), {"a": "1"}), ("s", "t", "c", "j", 7, Decimal("12.5"), {}))
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array([None, "1"], pa.utf8()))
    assert column.type == TEXT

    odd = pa.RecordBatch.from_arrays([*batch.columns[:-1], column], schema=usage_schema(["a"]))

    assert contents(odd) == contents(batch)


def test_the_secret_of_a_log_is_its_own_and_never_changes() -> None:
    one, other = (MemoryEventStore(SimulatedClock(NOON + timedelta(hours=hour))) for hour in (0, 1))
    for store in (one, other):
        log_settings(store, SimulatedClock(NOON), 1)

    before = log_secret(one)
    one.append(StreamName("log", "more"), [NewEvent(uuid4(), "Else", 1, b"")], -1)

    assert (log_secret(one), log_secret(one) != log_secret(other)) == (before, True)


def test_a_log_without_settings_has_no_secret() -> None:
    with pytest.raises(Corrupt, match="log-settings"):
        log_secret(MemoryEventStore(SimulatedClock(NOON)))


def test_no_usage_events_have_no_digests() -> None:
    empty = batch_of(("s", "t", "c", "i", 0, Decimal(1), {})).slice(0, 0)

    assert (keys(empty), contents(empty)) == ([], [])


def test_a_stored_text_that_ingest_never_accepts_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="more than 4096 bytes"):
        key("s", "x" * (TEXT_BYTES_MAX + 1))
    assert key("s", "x" * TEXT_BYTES_MAX) != key("s", "x" * (TEXT_BYTES_MAX - 1))
