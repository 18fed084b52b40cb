"""What the demonstration learns from a trace before it plays it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from services.cli.demo.trace import read_trace
from services.cli.failure import CommandFailed
from services.kernel.errors import InvalidInput

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def trace_file(folder: Path, content: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_rows_belong_to_the_customers_in_turn_and_are_counted_plainly(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:00:{index:02}.1234567,{index},{index * 10}\n" for index in range(10))
    trace = read_trace(trace_file(tmp_path, HEADER + rows))
    second = trace.counts["tenant-1"]
    assert (second.requests, second.input_tokens, second.output_tokens) == (2, Decimal(10), Decimal(100))
    assert second.largest_prompt == Decimal(9)
    assert trace.counts["tenant-7"].requests == 1


def test_instants_are_utc_with_finer_digits_cut_off_and_rows_need_no_order(tmp_path: Path) -> None:
    content = HEADER + "2023-11-16 18:00:01.9999999,1,1\n2023-11-16 18:00:00,1,1\n"
    trace = read_trace(trace_file(tmp_path, content))
    assert trace.first_at == datetime(2023, 11, 16, 18, tzinfo=UTC)
    assert trace.last_at == datetime(2023, 11, 16, 18, 0, 1, 999999, tzinfo=UTC)


def test_broken_rows_are_read_over_and_keep_their_place(tmp_path: Path) -> None:
    content = HEADER + "nonsense\n2023-11-16 18:00:00,1.5.2,1\n2023-02-30 18:00:00,1,1\n2023-11-16 18:00:00,3,4\n"
    trace = read_trace(trace_file(tmp_path, content))
    assert trace.rows == 4
    assert {customer for customer, count in trace.counts.items() if count.requests} == {"tenant-3"}


def test_no_month_closes_before_the_whole_trace_is_imported(tmp_path: Path) -> None:
    content = HEADER + "2023-11-30 23:59:59,1,1\n2023-12-01 00:10:00,1,1\n"
    trace = read_trace(trace_file(tmp_path, content))
    assert [month.start.month for month in trace.billed_months] == [11, 12]
    assert trace.billed_months[0].end + trace.grace > trace.last_at
    assert trace.grace == timedelta(hours=1, minutes=10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER, "TRACE_EMPTY"),
        (HEADER + "x,y,z\n", "TRACE_EMPTY"),
        (HEADER + "2023-01-01 00:00:00,1,1\n2025-01-01 00:00:00,1,1\n", "TRACE_TOO_LONG"),
    ],
)
def test_a_file_that_cannot_be_demonstrated_is_refused_with_the_reason(
    tmp_path: Path, content: str, reason: str
) -> None:
    with pytest.raises(CommandFailed, match=r"trace\.csv") as refused:
        read_trace(trace_file(tmp_path, content))
    assert refused.value.reason == reason


@pytest.mark.parametrize("content", ["", "TIMESTAMP,ContextTokens\n2023-11-16 18:00:00,1\n"])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidInput):
        read_trace(trace_file(tmp_path, content))
