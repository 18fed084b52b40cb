"""The demonstration tells the truth: its report against a plain calculation over the file, sharing no code with it.

Run with TRACE=path.csv in the environment to hold it to a real trace, too.
"""

import csv
import json
import math
import os
import random
import subprocess
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

METERS = ("requests", "input_tokens", "output_tokens", "largest_prompt")
CENT = Decimal("0.01")
SEED = 7
ROWS = 5_000
TRACES = ["", *filter(None, [os.environ.get("TRACE")])]

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_trace(path: Path) -> None:
    """Enough rows for every tier to be reached, in no order of time, with two broken rows."""
    draws = random.Random(SEED)
    with path.open("w", newline="") as file:
        file.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for number in range(ROWS):
            time = f"23:{draws.randrange(60):02}:{draws.randrange(60):02}.1234567"
            tokens = "n/a" if number in (17, 4_000) else str(draws.randrange(2, 4_000))
            file.write(f"2023-11-30 {time},{tokens},{draws.randrange(1, 900)}\n")


def count(path: Path) -> tuple[dict[tuple[str, str], Decimal], int, int]:
    """Quantity by customer and meter; rows in the file; rows that are broken."""
    quantities = {(f"tenant-{number}", meter): Decimal(0) for number in range(8) for meter in METERS}
    rows = broken = 0
    with path.open(newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            rows += 1
            if not row["ContextTokens"].isdigit():
                broken += 1
                continue
            customer = f"tenant-{index % 8}"
            input_tokens, output_tokens = Decimal(row["ContextTokens"]), Decimal(row["GeneratedTokens"])
            quantities[customer, "requests"] += 1
            quantities[customer, "input_tokens"] += input_tokens
            quantities[customer, "output_tokens"] += output_tokens
            quantities[customer, "largest_prompt"] = max(quantities[customer, "largest_prompt"], input_tokens)
    return quantities, rows, broken


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def price_of_requests(quantity: Decimal) -> Decimal:
    return cents(max(quantity - 500, Decimal(0)) * Decimal("0.002"))


def price_of_input(quantity: Decimal) -> Decimal:
    first = min(quantity, Decimal(1_000_000))
    second = min(max(quantity - 1_000_000, Decimal(0)), Decimal(4_000_000))
    third = max(quantity - 5_000_000, Decimal(0))
    return cents(first * Decimal("0.0000025") + second * Decimal("0.000002") + third * Decimal("0.0000015"))


def price_of_output(quantity: Decimal) -> Decimal:
    return cents(math.ceil(quantity / 1_000) * Decimal("0.0125"))


def expected_invoice(quantities: dict[tuple[str, str], Decimal], customer: str) -> dict[str | None, Decimal]:
    """Amount by meter; None is the platform's flat price."""
    return {
        None: Decimal("20.00"),
        "requests": price_of_requests(quantities[customer, "requests"]),
        "input_tokens": price_of_input(quantities[customer, "input_tokens"]),
        "output_tokens": price_of_output(quantities[customer, "output_tokens"]),
    }


def require_repairs(repairs: dict[str, Any], quantities: dict[tuple[str, str], Decimal]) -> None:
    """The closed month; then 200 more of 100 and 10 tokens, one 50,000 higher, without the 200, and with them again."""
    closed = {meter: quantities[repairs["customer"], meter] for meter in METERS}
    late = {
        "requests": closed["requests"] + 200,
        "input_tokens": closed["input_tokens"] + 20_000,
        "output_tokens": closed["output_tokens"] + 2_000,
        "largest_prompt": max(closed["largest_prompt"], Decimal(100)),
    }
    largest = max(late["largest_prompt"], Decimal(repairs["amended_from"]) + 50_000)
    amended = late | {"input_tokens": late["input_tokens"] + 50_000, "largest_prompt": largest}
    cancelled = closed | {"input_tokens": closed["input_tokens"] + 50_000, "largest_prompt": largest}
    told = [repairs["closed"], *(repair["totals"] for repair in repairs["restated"])]
    assert [{meter: Decimal(total) for meter, total in totals.items()} for totals in told] == [
        closed,
        late,
        amended,
        cancelled,
        amended,
    ]


def require_truth(report: dict[str, Any], trace: Path) -> None:
    quantities, rows, broken = count(trace)
    recorded = rows - broken
    assert report["usage_events"] == {
        "read": rows,
        "recorded": recorded,
        "duplicate_on_second_import": recorded,
        "invalid": broken,
    }
    usage = {(row["customer"], row["meter"]): Decimal(row["quantity"] or 0) for row in report["usage"]}
    assert usage == quantities
    assert sorted(invoice["customer"] for invoice in report["invoices"]) == [f"tenant-{number}" for number in range(8)]
    assert len({invoice["number"] for invoice in report["invoices"]}) == 8
    for invoice in report["invoices"]:
        expected = expected_invoice(quantities, invoice["customer"])
        assert invoice["currency"] == "USD"
        assert {line["meter"]: line["amount"] for line in invoice["lines"]} == {
            meter: str(amount) for meter, amount in expected.items()
        }
        assert invoice["total"] == str(sum(expected.values()))
    assert report["webhooks"] == {"delivered": 8, "verified": 8}
    require_repairs(report["repairs"], quantities)
    assert report["rebuild"]
    assert all(result["equal"] and result["live_digest"] == result["rebuilt_digest"] for result in report["rebuild"])
    assert report["audit"]["verified"] is True
    assert report["audit"]["events"] > 0


def test_a_given_trace_is_billed_to_the_cent_and_its_broken_rows_are_counted(tmp_path: Path, meterlog: Run) -> None:
    trace = tmp_path / "requests.csv"
    write_trace(trace)
    demo = meterlog("demo", "--trace", str(trace), "--var", str(tmp_path / "demo"), "--json")
    assert demo.returncode == 0, demo.stderr
    require_truth(json.loads(demo.stdout), trace)
    assert json.loads((tmp_path / "demo" / "report.json").read_text()) == json.loads(demo.stdout)


@pytest.mark.parametrize(
    "given", ["", *filter(None, [os.environ.get("TRACE")])], ids=lambda given: given or "generated"
)
def test_the_demonstration_agrees_with_a_plain_calculation(tmp_path: Path, meterlog: Run, given: str) -> None:
    var = tmp_path / "demo"
    demo = meterlog("demo", "--var", str(var), *(("--trace", given) if given else ()))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    (trace,) = [Path(given)] if given else var.glob("*.csv")
    assert given or "generated" in demo.stdout
    require_truth(json.loads((var / "report.json").read_text()), trace)


@pytest.mark.parametrize("content", [None, "", "TIMESTAMP,ContextTokens\n2023-11-16 18:00:00,1\n"])
def test_a_trace_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, meterlog: Run, content: str | None) -> None:
    trace = tmp_path / "requests.csv"
    if content is not None:
        trace.write_text(content)
    refused = meterlog("demo", "--trace", str(trace), "--var", str(tmp_path / "demo"))
    assert refused.returncode == 2
    assert "requests.csv" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
