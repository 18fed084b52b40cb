"""`meterlog up`: one folder, one platform, and nothing left behind."""

import json
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from services.cli.addresses import ADDRESSES_FILE, SERVICES
from services.cli.failure import ExitCode
from services.cli.processes.var_lock import VarLock
from tests.postgres import fresh_database

STOP_TIMEOUT_S = 45

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


def announcement(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one document that `up --json` prints when every service is healthy."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    document: dict[str, Any] = json.loads("".join(lines))
    return document


def require_all_gone(var: Path) -> None:
    """Every service holds the folder's lock, so it can only be taken when all of them are gone."""
    VarLock.take(var).release()


def test_other_commands_find_the_platform_and_it_leaves_nothing_behind(
    tmp_path: Path, meterlog: Run, meterlog_started: Start
) -> None:
    with meterlog_started("up", "--var", str(tmp_path), "--port-base", "0", "--json") as up:
        document = announcement(up)
        clocks = meterlog("clock", "show", "--var", str(tmp_path), "--json")
        up.send_signal(signal.SIGTERM)
        assert up.wait(STOP_TIMEOUT_S) == 0
    assert document["pid"] == up.pid
    assert set(document["addresses"]) == set(SERVICES)
    assert [reading["service"] for reading in json.loads(clocks.stdout)] == list(SERVICES)
    assert not (tmp_path / ADDRESSES_FILE).exists()
    assert all((tmp_path / "logs" / f"{service}.log").stat().st_size for service in SERVICES)
    require_all_gone(tmp_path)


def test_a_second_platform_on_the_same_folder_is_refused_and_disturbs_nothing(
    tmp_path: Path, meterlog: Run, meterlog_started: Start
) -> None:
    with meterlog_started("up", "--var", str(tmp_path), "--port-base", "0", "--json") as up:
        announcement(up)
        second = meterlog("up", "--var", str(tmp_path), "--port-base", "0")
        verified = meterlog("audit", "verify", "--var", str(tmp_path), "--json")
        up.send_signal(signal.SIGINT)
        assert up.wait(STOP_TIMEOUT_S) == 0
    assert second.returncode == 2
    assert f"process {up.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert json.loads(verified.stdout)["verified"] is True


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path, meterlog: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = meterlog("up", "--var", str(tmp_path), "--port-base", str(min(port, 65_532)))
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}" in refused.stderr
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "log").exists()


def test_services_do_not_outlive_a_killed_platform(tmp_path: Path, meterlog_started: Start) -> None:
    with meterlog_started("up", "--var", str(tmp_path), "--port-base", "0", "--json") as up:
        announcement(up)
        up.kill()
        up.wait(STOP_TIMEOUT_S)
    require_all_gone(tmp_path)


def test_a_service_that_refuses_its_configuration_stops_the_whole_with_its_words(tmp_path: Path, meterlog: Run) -> None:
    refused = meterlog("up", "--var", str(tmp_path), "--port-base", "0", METERLOG_USAGE_PARTITIONS="none")
    assert refused.returncode == 1
    assert "METERLOG_USAGE_PARTITIONS" in refused.stderr
    require_all_gone(tmp_path)


def test_log_and_read_models_may_lie_on_a_server_whose_password_is_shown_nowhere(
    tmp_path: Path, meterlog: Run, meterlog_started: Start
) -> None:
    url = fresh_database().replace("postgres:@", "postgres:hunter2@")
    options = ("--store", url, "--database", url, "--var", str(tmp_path), "--port-base", "0", "--json")
    with meterlog_started("up", *options) as up:
        document = announcement(up)
        projections = meterlog("rebuild", "--var", str(tmp_path), "--json")
        told = (tmp_path / ADDRESSES_FILE).stat()
        up.send_signal(signal.SIGTERM)
        assert up.wait(STOP_TIMEOUT_S) == 0
    assert document["store_url"] == url.replace("hunter2", "…")
    assert projections.returncode == 0, projections.stderr
    assert stat.S_IMODE(told.st_mode) == 0o600
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".db"]
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert "hunter2" not in logs


def test_services_do_not_share_a_file_of_read_models(tmp_path: Path, meterlog: Run) -> None:
    refused = meterlog("up", "--var", str(tmp_path), "--database", f"sqlite:///{tmp_path}/tables.db")
    assert refused.returncode == ExitCode.USAGE
    assert "schema of its own" in refused.stderr


def test_several_aggregators_do_not_share_files(tmp_path: Path, meterlog: Run) -> None:
    refused = meterlog("up", "--var", str(tmp_path), "--aggregators", "2")
    assert refused.returncode == ExitCode.USAGE
    assert "--database" in refused.stderr
    assert not (tmp_path / "logs").exists()
