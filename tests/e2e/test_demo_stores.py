"""The demonstration says the same on every store, to the byte."""

import csv
import json
import random
import subprocess
from pathlib import Path

import pytest

from services.cli.failure import ExitCode
from tests.e2e.conftest import COMMAND_TIMEOUT_S, command, own_environment
from tests.kurrentdb_server import KurrentServer

SEED = 11
ROWS = 3_000


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Usage of two months, in no order of time, with a broken row."""
    path = tmp_path_factory.mktemp("trace") / "requests.csv"
    draws = random.Random(SEED)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for number in range(ROWS):
            day = draws.choice(["2023-11-29", "2023-11-30", "2023-12-01"])
            tokens = "n/a" if number == 17 else draws.randrange(2, 4_000)
            rows.writerow([f"{day} 12:{draws.randrange(60):02}:00.1234567", tokens, draws.randrange(1, 900)])
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def told(trace: Path, var: Path, *options: str) -> Path:
    """The folder of a demonstration that succeeded."""
    demo = run("demo", "--trace", str(trace), "--var", str(var), *options)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    return var


@pytest.fixture(scope="module")
def usual_report(tmp_path_factory: pytest.TempPathFactory, trace: Path) -> bytes:
    """What the demonstration says on embedded stores."""
    var = told(trace, tmp_path_factory.mktemp("usual") / "demo")
    return (var / "report.json").read_bytes()


def test_a_private_postgresql_changes_nothing_in_the_report(tmp_path: Path, trace: Path, usual_report: bytes) -> None:
    var = told(trace, tmp_path / "demo", "--store", "postgres")
    assert (var / "report.json").read_bytes() == usual_report
    assert json.loads((var / "proof.json").read_text())["store"].count("postgresql://") == 2
    assert not list(var.rglob("*.db"))


def test_kurrentdb_changes_nothing_in_the_report_and_is_used_once(
    tmp_path: Path, trace: Path, usual_report: bytes
) -> None:
    with KurrentServer() as server:
        var = told(trace, tmp_path / "demo", "--store", server.url)
        again = run("demo", "--var", str(var), "--store", server.url)
    assert again.returncode == ExitCode.USAGE
    assert "not empty" in again.stderr
    assert (var / "report.json").read_bytes() == usual_report
    assert json.loads((var / "proof.json").read_text())["audit"]["head"] == ""


def test_the_report_that_all_agree_on_says_something(usual_report: bytes) -> None:
    report = json.loads(usual_report)
    assert report["usage_events"] == {
        "read": ROWS,
        "recorded": ROWS - 1,
        "duplicate_on_second_import": ROWS - 1,
        "invalid": 1,
    }
    assert len(report["invoices"]) == 16
    assert len(report["rebuild"]) == 5
    assert all(result["equal"] and len(result["live_digest"]) == 64 for result in report["rebuild"])
    assert report["audit"]["verified"]
