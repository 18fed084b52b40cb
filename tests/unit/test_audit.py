"""The audit chain's functions, against the values that RFC 6962 implementations agree on, and against bytes by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import pytest

from services.eventstore.audit.chain import CHAIN_START, leaf_hashes, merkle_root, next_chain, recorded_leaf
from services.eventstore.event import NewEvent, Position, RecordedEvent, StreamName
from services.kernel.clock import epoch_us

# Leaf inputs and roots of the test vectors that certificate-transparency logs share.
LEAF_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

STREAM = StreamName("meter", "tökens")
RECORDED = RecordedEvent(
    position=Position(42),
    stream=STREAM,
    version=3,
    id=UUID("018d6b3c-1111-8222-b333-444455556666"),
    type="MeterCreated",
    schema_version=1,
    recorded_at=datetime(2024, 1, 31, 12, 0, 0, 250_001, tzinfo=UTC),
    payload=b"\x0a\x06tokens",
    leaf=b"",
)


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_rfc_6962(count: int) -> None:
    leaves = [sha256(b"\x00" + leaf_input).digest() for leaf_input in LEAF_INPUTS[:count]]
    assert merkle_root(leaves).hex() == ROOTS[count]


@pytest.mark.parametrize("count", [9, 13, 16, 17, 31, 100])
def test_a_root_splits_at_the_largest_power_of_two(count: int) -> None:
    def by_definition(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return sha256(b"\x01" + by_definition(leaves[:split]) + by_definition(leaves[split:])).digest()

    leaves = [sha256(bytes([number])).digest() for number in range(count)]
    assert merkle_root(leaves) == by_definition(leaves)


def test_the_leaf_is_the_hash_of_header_and_payload() -> None:
    by_hand = (
        b"\x00"
        b"\x00\x00\x00\x0d"
        b"meter-t\xc3\xb6kens"
        b"\x00\x00\x00\x00\x00\x00\x00\x03"
        + bytes.fromhex("018d6b3c11118222b333444455556666")
        + b"\x00\x00\x00\x0c"
        + b"MeterCreated"
        + b"\x00\x00\x00\x01"
        + (1_706_702_400_250_001).to_bytes(8, "big")
        + b"\x0a\x06tokens"
    )
    assert recorded_leaf(RECORDED) == sha256(by_hand).digest()


def test_a_leaf_is_the_same_before_and_after_recording() -> None:
    written = NewEvent(RECORDED.id, RECORDED.type, RECORDED.schema_version, RECORDED.payload)
    leaves = leaf_hashes(STREAM, 2, [written, written], epoch_us(RECORDED.recorded_at))
    assert leaves[1] == recorded_leaf(RECORDED)
    assert leaves[0] != leaves[1]


def test_the_place_in_the_log_does_not_change_a_leaf() -> None:
    assert recorded_leaf(replace(RECORDED, position=Position(1))) == recorded_leaf(RECORDED)


@pytest.mark.parametrize(
    "changed",
    [
        replace(RECORDED, stream=StreamName("meter", "tokens")),
        replace(RECORDED, version=4),
        replace(RECORDED, id=UUID(int=RECORDED.id.int ^ 1)),
        replace(RECORDED, type="MeterUpdated"),
        replace(RECORDED, schema_version=2),
        replace(RECORDED, recorded_at=RECORDED.recorded_at.replace(microsecond=250_002)),
        replace(RECORDED, payload=b"\x0a\x06tokenS"),
        replace(RECORDED, type="MeterCreate", payload=b"d" + RECORDED.payload),
    ],
)
def test_whatever_else_changes_changes_the_leaf(changed: RecordedEvent) -> None:
    assert recorded_leaf(changed) != recorded_leaf(RECORDED)


def test_the_chain_goes_over_root_and_last_position() -> None:
    root = bytes(range(32))
    expected = sha256(bytes(32) + root + b"\x00\x00\x00\x00\x00\x00\x01\x00").digest()
    assert next_chain(CHAIN_START, root, 256) == expected
