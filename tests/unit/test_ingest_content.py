"""Which usage events are the same one, and which say the same; live and read back from the log alike."""

from collections.abc import Mapping
from decimal import Decimal

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from services.eventstore.usage_batch import decode_usage, encode_usage, usage_batch_of
from services.ingest.content import content_digests, key_digests
from services.kernel.quantity import add

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
IDENTIFIERS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6)
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


def batch_of(*rows: Row) -> pa.RecordBatch:
    return usage_batch_of(*(list(column) for column in zip(*rows, strict=True)))


def content(**changes: object) -> bytes:
    row = {"source": "s", "type": "t", "subject": "c", "id": "i", "time": 7, "value": Decimal("12.5"), "properties": {}}
    return content_digests(batch_of(tuple((row | changes).values())))[0]  # type: ignore[arg-type]  # a row by names


def key(source: str, id: str) -> bytes:  # noqa: A002 (the field's name)
    return key_digests(batch_of((source, "t", "c", id, 0, Decimal(1), {})))[0]


@given(st.lists(ROWS, min_size=1, max_size=70))
def test_a_batch_read_back_from_the_log_has_the_digests_it_had_live(rows: list[Row]) -> None:
    live = batch_of(*rows)

    stored = decode_usage(encode_usage(live))

    assert key_digests(stored) == key_digests(live)
    assert content_digests(stored) == content_digests(live)


@given(ROWS, ROWS)
def test_a_usage_event_has_the_same_digests_whatever_its_neighbours(row: Row, neighbour: Row) -> None:
    alone, together = batch_of(row), batch_of(neighbour, row, neighbour)

    assert key_digests(together)[1] == key_digests(alone)[0]
    assert content_digests(together)[1] == content_digests(alone)[0]


@given(ROWS, ROWS)
def test_digests_are_equal_only_for_equal_facts(one: Row, other: Row) -> None:
    first, second = batch_of(one), batch_of(other)

    assert (key_digests(first) == key_digests(second)) == (one[0::3][:2] == other[0::3][:2])
    said, said_by_other = (row[1:3] + row[4:] for row in (one, other))
    assert (content_digests(first) == content_digests(second)) == (said == said_by_other)


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
        content(time=8),
        content(value=Decimal("12.6")),
        content(properties={"a": "1"}),
        content(properties={"a": ""}),
        content(properties={"a": "1", "b": "2"}),
        content(properties={"b": "1", "a": "2"}),
    ]

    assert len({content(), *changed}) == len(changed) + 1


def test_the_order_of_properties_does_not_matter() -> None:
    assert content(properties={"a": "1", "b": "2"}) == content(properties={"b": "2", "a": "1"})


def test_source_and_id_are_not_mixed_up() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key("a", "b") != key("b", "a")
    assert content(source="x", id="y") == content(), "who sent it under which id is no part of what it says"
