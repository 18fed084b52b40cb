"""A batch of usage events comes back from the log as it went in, or is refused as corrupt."""

from decimal import Decimal

import pytest

from meterlog.events.v1.usage_pb2 import UsageRecorded
from services.eventstore import usage_batch
from services.eventstore.usage_batch import (
    ARROW_IPC_BYTES_MAX,
    UsageBatchTooLarge,
    decode_usage,
    encode_usage,
    property_keys,
    usage_batch_of,
)
from services.kernel.errors import Corrupt


def batch_of(rows: int) -> "usage_batch.pa.RecordBatch":
    ids = [f"e-{row}" for row in range(rows)]
    values = [Decimal("99999999999999999999999999.999999999999")] * rows
    properties = [{"region": "eu", "tokens": str(row)} if row % 2 else {} for row in range(rows)]
    return usage_batch_of(["gateway"] * rows, ["call"] * rows, ["acme"] * rows, ids, [-1] * rows, values, properties)


@pytest.mark.parametrize("rows", [1, 2, 1_000])
def test_what_was_encoded_is_decoded(rows: int) -> None:
    batch = batch_of(rows)
    assert decode_usage(encode_usage(batch)).equals(batch)


def test_property_keys_are_in_order_whoever_comes_first() -> None:
    batch = usage_batch_of(
        ["s"] * 2, ["t"] * 2, ["c"] * 2, ["a", "b"], [0, 0], [Decimal(1)] * 2, [{"z": "1"}, {"a": "2"}]
    )
    assert property_keys(decode_usage(encode_usage(batch))) == ("a", "z")


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(UsageBatchTooLarge, match="1 to"):
        encode_usage(batch_of(2).slice(0, 0))


def test_a_flipped_byte_never_crashes_the_reader() -> None:
    """Whether it changed a value is for the audit chain to tell."""
    message = encode_usage(batch_of(3))
    for place in range(len(message.arrow_ipc_zstd)):
        content = bytearray(message.arrow_ipc_zstd)
        content[place] ^= 0x55
        damaged = UsageRecorded()
        damaged.CopyFrom(message)
        damaged.arrow_ipc_zstd = bytes(content)
        try:
            assert decode_usage(damaged).num_rows == 3
        except Corrupt:
            continue


@pytest.mark.parametrize("size", [-1, 0, 1, 100_000, ARROW_IPC_BYTES_MAX + 1])
def test_a_batch_that_lies_about_its_size_is_refused(size: int) -> None:
    message = encode_usage(batch_of(3))
    lying = UsageRecorded(usage_event_count=3, arrow_ipc_zstd=message.arrow_ipc_zstd, arrow_ipc_size=size)
    with pytest.raises(Corrupt):
        decode_usage(lying)


def test_a_batch_that_lies_about_its_rows_is_refused() -> None:
    message = encode_usage(batch_of(3))
    message.usage_event_count = 4
    with pytest.raises(Corrupt, match="rows"):
        decode_usage(message)


def test_a_batch_that_inflates_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_batch, "ARROW_IPC_BYTES_MAX", 1_000)
    with pytest.raises(UsageBatchTooLarge, match="split"):
        encode_usage(batch_of(1_000))
