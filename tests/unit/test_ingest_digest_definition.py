"""The digests of usage events, row by row in plain numbers, from their definition: the columns have the same."""

from decimal import Decimal
from fractions import Fraction
from hashlib import shake_256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.digests import spread
from tests.unit.test_ingest_content import DIGESTS, ROWS, SECRET, Row, batch_of, contents

FROZEN = ("f2fe78004523b6fb8de85ac7d0a73a63", "558584cc9546ead2")
U32, U64 = 2**32 - 1, 2**64 - 1


def drawn(purpose: str, words: int, lanes: int) -> list[list[int]]:
    bytes_ = shake_256(len(SECRET).to_bytes(2) + SECRET + purpose.encode()).digest(words * lanes * 8)
    numbers = [int.from_bytes(bytes_[start : start + 8], "little") for start in range(0, len(bytes_), 8)]
    return [numbers[start : start + lanes] for start in range(0, len(numbers), lanes)]


def inner_product(words: list[int], purpose: str, lanes: int) -> list[int]:
    rows = drawn(purpose, len(words), lanes)
    return [sum(word * row[lane] for word, row in zip(words, rows, strict=True)) & U64 for lane in range(lanes)]


def text_words(text: str) -> list[int]:
    content = text.encode()
    parts = [content[start : start + 4] for start in range(0, len(content), 4)]
    return [len(content), *(int.from_bytes(part, "little") for part in parts)]


def number_words(number: int, words: int) -> list[int]:
    return [(number >> 32 * word) & U32 for word in range(words)]


def mixed(value: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = ((value ^ value >> 33) * factor) & U64
    return value ^ value >> 33


def lane_pairs(sums: list[list[int]]) -> list[int]:
    lanes = [(sum(column) & U64) >> 32 for column in zip(*sums, strict=True)]
    return [mixed(lanes[at] << 32 | lanes[at + 1]) for at in range(0, len(lanes), 2)]


def plain_key(row: Row) -> tuple[int, int]:
    start = drawn("key", 1, 4)
    upper, lower = lane_pairs(
        [start[0], inner_product(text_words(row[0]), "source", 4), inner_product(text_words(row[3]), "id", 4)]
    )
    return upper, lower


def plain_content(row: Row) -> int:
    _, type_, subject, _, time, value, properties = row
    sums = [
        drawn("content", 1, 2)[0],
        inner_product(text_words(type_), "type", 2),
        inner_product(text_words(subject), "subject", 2),
        inner_product(number_words(time, 2), "time", 2),
        inner_product(number_words(int(Fraction(value) * 10**12), 4), "value", 2),
    ]
    for name, text in properties.items():
        lanes = [total >> 32 for total in inner_product(text_words(text), "property", 2)]
        sums.append(inner_product([1, *lanes], f"property {name}", 2))
    return lane_pairs(sums)[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=10))
def test_the_columns_have_the_digests_of_the_definition(rows: list[Row]) -> None:
    batch = batch_of(*rows)

    assert [(int(key["hi"]), int(key["lo"])) for key in DIGESTS.keys(batch)] == [plain_key(row) for row in rows]
    assert contents(batch) == [plain_content(row) for row in rows]


def test_the_digests_never_change() -> None:
    batch = batch_of(("gateway", "llm.completion", "tenant-1", "e-1", 1, Decimal("1.5"), {"region": "eu", "model": ""}))
    said_key, said = DIGESTS.keys(batch), DIGESTS.contents(batch)

    assert (f"{said_key['hi'][0]:016x}{said_key['lo'][0]:016x}", f"{said[0]:016x}") == FROZEN, (
        "an index on disk has these: a change needs another index_manifest.FORMAT"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (1, 0xB456BCFC34C2CB2C), (2, 0x3ABF2A20650683E7), (U64, 0x64B5720B4B825F21)],
)
def test_values_are_spread_by_murmur_hash_3(value: int, expected: int) -> None:

    assert spread(np.array([value], np.uint64))[0] == expected == mixed(value)
