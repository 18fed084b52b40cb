"""Recording in bulk: Arrow tables of any size, batches, atomic ones, and backfills."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pyarrow as pa
import pytest

from meterlog.client import AsyncMeterlog, CallFailed, Meterlog, RetryPolicy, Sending, WrongType, WrongValue, columns
from meterlog.client.testing import Fault, IngestInMemory

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
QUICK = Sending(retry=RetryPolicy(give_up_after_s=60.0, first_delay_s=0.001, delay_max_s=0.01))


def table(rows, first=0, **others):
    numbers = range(first, first + rows)
    columns_by_name = {
        "id": [f"call-{number}" for number in numbers],
        "source": pa.array(["gateway"] * rows).dictionary_encode(),
        "type": ["api.call"] * rows,
        "subject": [f"tenant-{number % 7}" for number in numbers],
        "time": pa.array([NOON] * rows, pa.timestamp("us", "UTC")),
        "value": pa.array([Decimal("0.1")] * rows, pa.decimal128(38, 12)),
        **others,
    }
    return pa.table(columns_by_name)


@pytest.fixture
def ingest():
    with IngestInMemory() as service:
        yield service


@pytest.fixture
def meterlog(ingest):
    with Meterlog(ingest.address, sending=QUICK) as client:
        yield client


def test_a_table_of_any_size_is_recorded_and_a_repeat_is_all_duplicates(ingest, meterlog, monkeypatch):
    monkeypatch.setattr(columns, "ROWS_PER_REQUEST_MAX", 100)
    first = meterlog.record_columns(table(1234))
    again = meterlog.record_columns(table(1234).to_batches(max_chunksize=77))
    assert (first.recorded, first.rows, again.duplicate) == (1234, 1234, 1234)
    assert max(ingest.batches) == 100
    assert len(ingest.recorded) == 1234


def test_rows_that_are_not_plainly_recorded_are_named_by_their_number_in_the_whole(meterlog, monkeypatch):
    monkeypatch.setattr(columns, "ROWS_PER_REQUEST_MAX", 10)
    rows = table(30)
    ids = rows.column("id").to_pylist()
    ids[17] = ""
    result = meterlog.record_columns(rows.set_column(0, "id", pa.array(ids)))
    assert (result.recorded, result.invalid) == (29, 1)
    assert [(each.row, each.outcome, each.field) for each in result.exceptions] == [(17, "invalid", "id")]


def test_requests_stay_below_what_the_service_receives(meterlog, monkeypatch, ingest):
    monkeypatch.setattr(columns, "ARROW_BYTES_PER_REQUEST_MAX", 20_000)
    assert meterlog.record_columns(table(1_000)).recorded == 1_000
    assert len(ingest.batches) > 1


def test_a_slice_leaves_the_large_dictionary_of_its_whole_behind():
    many = pa.array([f"tenant-{number:06}" for number in range(10_000)]).dictionary_encode()
    whole = pa.RecordBatch.from_pydict({"subject": many})
    [(encoded, rows)] = columns.encoded_requests(whole.slice(0, 5))
    assert rows == 5
    assert len(encoded) < 2_000


def test_an_atomic_table_must_fit_into_one_request(meterlog, ingest, monkeypatch):
    assert meterlog.record_columns([*table(6).to_batches(2)], atomic=True).recorded == 6
    assert ingest.batches == (6,)
    monkeypatch.setattr(columns, "ROWS_PER_REQUEST_MAX", 5)
    with pytest.raises(WrongValue, match="an atomic request holds at most 5 rows"):
        meterlog.record_columns(table(6), atomic=True)


@pytest.mark.parametrize("wrong", ["a text", [1, 2], 5])
def test_what_is_no_table_is_refused(meterlog, wrong):
    with pytest.raises(WrongType, match="use"):
        meterlog.record_columns(wrong)


def test_a_lost_answer_is_sent_again_and_a_refusal_is_an_error(ingest, tmp_path):
    faults = [Fault(grpc.StatusCode.UNAVAILABLE, is_recorded=True), Fault(), Fault(grpc.StatusCode.INVALID_ARGUMENT)]
    with IngestInMemory(faults) as failing, Meterlog(failing.address, sending=QUICK) as client:
        assert client.record_columns(table(5)).duplicate == 5
        with pytest.raises(CallFailed, match="INVALID_ARGUMENT"):
            client.record_columns(table(5))


def test_a_batch_is_recorded_in_one_call_for_its_backfill(ingest, meterlog):
    events = [meterlog.event(type="api.call", subject="acme", id=str(number), value=2) for number in range(3)]
    results = meterlog.record_batch(events, atomic=True, backfill="january")
    assert [result.outcome for result in results] == ["recorded"] * 3
    assert ingest.backfills == {"january"}


def test_the_asyncio_client_records_in_bulk_too(ingest):
    async def record():
        async with AsyncMeterlog(ingest.address, sending=QUICK) as client:
            recorded = await client.record_columns(table(10))
            results = await client.record_batch([client.event(type="api.call", subject="acme")])
            return recorded, results

    recorded, results = asyncio.run(record())
    assert (recorded.recorded, results[0].outcome) == (10, "recorded")


def test_the_client_needs_no_pyarrow_until_columns_are_recorded():
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from meterlog.client import Meterlog, WrongType\n"
        "try:\n    Meterlog().record_columns([])\n"
        "except WrongType as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "recording columns needs pyarrow; install it: pip install pyarrow\n"
