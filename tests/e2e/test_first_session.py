"""What a newcomer does first, command by command, on one platform."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.cli.importing.generate import generate_usage
from services.cli.platform import Platform

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "llm"
ROWS = 400

Run = Callable[..., subprocess.CompletedProcess[str]]
Ask = Callable[..., Any]


@pytest.fixture
def ask(meterlog: Run, platform: Platform) -> Ask:
    """Runs a command with --json and returns its document; it must succeed unless `fails` says otherwise."""

    def run(*arguments: str, fails: int = 0) -> Any:
        ran = meterlog(*arguments, "--json", METERLOG_VAR=str(platform.settings.var))
        assert ran.returncode == fails, ran.stderr
        return json.loads(ran.stdout)

    return run


def actions(document: dict[str, Any]) -> dict[str, int]:
    return {action: count for action, count in document["counts"].items() if count}


def test_declare_import_bill_and_prove(tmp_path: Path, ask: Ask) -> None:
    catalogue, mapping = str(EXAMPLE / "catalogue.yaml"), str(EXAMPLE / "mapping.yaml")
    assert actions(ask("apply", "-f", catalogue, "--dry-run")) == {"create": 21}
    assert actions(ask("apply", "-f", catalogue)) == {"create": 21}, "a dry run writes nothing"
    assert actions(ask("apply", "-f", catalogue)) == {"unchanged": 21}

    usage_file = tmp_path / "hour.csv"
    generate_usage(usage_file, rows=ROWS)
    assert ask("import", str(usage_file), "--mapping", mapping)["recorded"] == ROWS
    assert ask("import", str(usage_file), "--mapping", mapping)["duplicate"] == ROWS

    usage = ask("usage", "--meter", "requests", "--group-by", "customer")
    assert {row["group"]["subject"]: row["quantity"] for row in usage} == {f"tenant-{n}": "50" for n in range(8)}

    assert {invoice["state"] for invoice in ask("invoices")} <= {"INVOICE_STATE_DRAFT"}
    ask("clock", "advance", "--to", "2023-12-01T02:00:00Z")
    assert all(result["equal"] for result in ask("rebuild"))
    assert ask("audit", "verify")["verified"] is True


def test_what_changed_is_applied_and_what_cannot_change_is_refused_by_itself(tmp_path: Path, ask: Ask) -> None:
    written = (EXAMPLE / "catalogue.yaml").read_text()
    ask("apply", "-f", str(EXAMPLE / "catalogue.yaml"))
    changed = tmp_path / "changed.yaml"
    written = written.replace('"0.0125"', '"0.015"').replace("aggregation: max", "aggregation: min")
    changed.write_text(written.replace("customer: tenant-7,", "customer: tenant-6,"))
    document = ask("apply", "-f", str(changed), fails=1)
    assert actions(document) == {"update": 2, "unchanged": 18, "refused": 1}
    (meter, plan) = [item for item in document["items"] if item["action"] == "update"]
    assert meter["changes"] == [{"field": "aggregation", "old": "max", "new": "min"}]
    assert plan["changes"] == [{"field": "prices[3].package.package_amount", "old": "0.0125", "new": "0.015"}]
    assert [version["aggregation"] for version in ask("meters", "versions", meter["key"])] == ["max", "min"]


def test_a_plan_whose_tiers_do_not_rise_is_refused_at_its_place_in_the_file(tmp_path: Path, ask: Ask) -> None:
    falling = tmp_path / "plan.yaml"
    falling.write_text(
        "meters: [{slug: m, event_type: e, aggregation: count}]\n"
        "plans: [{key: p, currency: USD, prices: [{key: a, meter: m, graduated: "
        '{tiers: [{up_to: "5", unit_amount: "1"}, {up_to: "5", unit_amount: "1"}, {unit_amount: "1"}]}}]}]\n'
    )
    (_, plan) = ask("apply", "-f", str(falling), fails=1)["items"]
    assert plan["fields"][0]["field"] == "plans[0].prices[0].graduated.tiers[1].up_to"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "reason"),
    [
        (("usage", "--meter", "nope"), 1, "METER_NOT_FOUND"),
        (("invoices", "show", "INV-999999"), 1, "INVOICE_NOT_FOUND"),
        (("rebuild", "nope"), 2, "PROJECTION_NOT_FOUND"),
        (("usage", "--from", "tomorrow"), 2, "NOT_AN_INSTANT"),
        (("usage", "--window", "fortnight"), 2, "USAGE"),
        (("clock", "advance", "--to", "2000-01-01T00:00:00Z"), 1, "CLOCK_RUNS_FORWARD"),
        (("apply", "-f", os.devnull), 1, "FILE_EMPTY"),
        (("import", "missing.csv", "--mapping", str(EXAMPLE / "mapping.yaml")), 2, "FILE_NOT_FOUND"),
    ],
)
def test_a_wrong_command_says_what_was_wrong(
    meterlog: Run, shared_platform: Platform, arguments: tuple[str, ...], exit_code: int, reason: str
) -> None:
    ran = meterlog(*arguments, "--json", METERLOG_VAR=str(shared_platform.settings.var))
    assert ran.returncode == exit_code
    assert json.loads(ran.stdout)["error"]["reason"] == reason
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.splitlines()) <= 2


def test_without_a_platform_a_command_says_what_to_start(tmp_path: Path, meterlog: Run) -> None:
    ran = meterlog("usage", METERLOG_AGGREGATOR_ADDRESS="127.0.0.1:1", METERLOG_VAR=str(tmp_path))
    assert ran.returncode == 1
    assert "start it with `meterlog up`" in ran.stderr
