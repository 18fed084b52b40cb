"""What `meterlog up` decides before and around its processes."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.addresses import SERVICES, default_addresses
from services.cli.failure import CommandFailed, ExitCode
from services.cli.processes import log_file
from services.cli.processes.environment import PlatformSettings, service_environment
from services.cli.processes.log_file import LogFile
from services.cli.processes.log_line import log_line_text, parse_log_line
from services.cli.processes.members import process_names, service_of
from services.cli.processes.ports import ANY_PORT, choose_addresses, require_free
from services.cli.processes.var_lock import VarLock

HOLD = """
import sys
from pathlib import Path
from services.cli.processes.var_lock import VarLock
VarLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_free_ports_are_four_different_ones() -> None:
    addresses = choose_addresses(ANY_PORT)
    assert list(addresses) == list(SERVICES)
    assert len(set(addresses.values())) == len(SERVICES)


def test_further_aggregators_take_the_ports_behind_those_of_the_services() -> None:
    assert process_names(3) == (*SERVICES, "aggregator-2", "aggregator-3")
    assert [service_of(process) for process in process_names(2)] == [*SERVICES, "aggregator"]
    addresses = choose_addresses(ANY_PORT, process_names(3))
    assert len(set(addresses.values())) == len(SERVICES) + 2


def test_a_port_base_leaves_room_for_further_aggregators_too() -> None:
    with pytest.raises(CommandFailed, match="leaves no room for 5 ports; choose 1 to 65531"):
        choose_addresses(65_532, process_names(2))


def test_a_further_aggregator_listens_on_its_own_address_and_the_others_ask_the_first(tmp_path: Path) -> None:
    addresses = {**default_addresses(), "aggregator-2": "127.0.0.1:7405"}
    variables = service_environment(PlatformSettings(tmp_path, environment={}), "aggregator-2", addresses, [])
    assert variables["METERLOG_LISTEN"] == "127.0.0.1:7405"
    assert variables["METERLOG_AGGREGATOR_ADDRESS"] == addresses["aggregator"]


def test_a_port_in_use_is_named_with_its_service_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CommandFailed) as refused:
            require_free({"ingest": address})
    assert f"in use already: {address} (ingest)" in refused.value.message
    assert refused.value.reason == "PORT_IN_USE"


@pytest.mark.parametrize("port_base", [-1, 65_533, 70_000])
def test_a_port_base_without_room_is_refused(port_base: int) -> None:
    with pytest.raises(CommandFailed, match="leaves no room"):
        choose_addresses(port_base)


def test_a_second_platform_on_the_same_folder_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    lock = VarLock.take(tmp_path)
    with pytest.raises(CommandFailed) as refused:
        VarLock.take(tmp_path)
    lock.release()
    assert f"(process {os.getpid()})" in refused.value.message
    assert refused.value.exit_code is ExitCode.USAGE


def test_the_lock_of_a_killed_platform_is_free_again(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CommandFailed, match=f"process {holder.pid}"):
            VarLock.take(tmp_path)
        holder.kill()
    VarLock.take(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="cannot be used"):
        VarLock.take(tmp_path / "file" / "var")


def test_a_service_hears_where_the_others_are_and_listens_on_its_own_address(tmp_path: Path) -> None:
    addresses = default_addresses()
    variables = service_environment(PlatformSettings(tmp_path, environment={}), "rating", addresses, ["", "lib"])
    assert variables["METERLOG_LISTEN"] == addresses["rating"]
    assert variables["METERLOG_AGGREGATOR_ADDRESS"] == addresses["aggregator"]
    assert variables["METERLOG_STORE_URL"] == f"sqlite:///{tmp_path}/log/events.db"
    assert variables["PYTHONPATH"] == "lib"
    assert "METERLOG_CLOCK" not in variables
    assert "METERLOG_WEBHOOK_ALLOW_HTTP" not in variables


def test_a_log_that_the_environment_names_is_used(tmp_path: Path) -> None:
    named = PlatformSettings(tmp_path, environment={"METERLOG_STORE_URL": "sqlite:///elsewhere.db"})
    assert service_environment(named, "ingest", default_addresses(), [])["METERLOG_STORE_URL"] == named.store_url
    assert named.store_url == "sqlite:///elsewhere.db"


def test_a_simulation_starts_where_it_is_told(tmp_path: Path) -> None:
    settings = PlatformSettings(
        tmp_path, is_clock_simulated=True, clock_start=datetime(2023, 11, 1, tzinfo=UTC), environment={}
    )
    variables = service_environment(settings, "ingest", default_addresses(), [])
    assert (variables["METERLOG_CLOCK"], variables["METERLOG_CLOCK_START"]) == ("simulated", "2023-11-01T00:00:00Z")


def test_a_proxy_of_the_machine_is_not_asked_for_services_on_loopback(tmp_path: Path) -> None:
    settings = PlatformSettings(tmp_path, environment={"http_proxy": "proxy:80", "no_proxy": "intranet"})
    variables = service_environment(settings, "ingest", default_addresses(), [])
    assert variables["no_grpc_proxy"] == "intranet,127.0.0.1,localhost,::1"


def test_a_platform_on_loopback_has_no_tls_whatever_the_environment_says(tmp_path: Path) -> None:
    settings = PlatformSettings(tmp_path, environment={"METERLOG_TLS_CERT": "cert.pem"})
    assert "METERLOG_TLS_CERT" not in service_environment(settings, "ingest", default_addresses(), [])


def shown(**document: object) -> str:
    raw = json.dumps({"level": "info", "timestamp": "2026-01-31T12:01:02.5Z", "service": "ingest", **document})
    return log_line_text(parse_log_line("ingest", raw)).plain


def test_a_line_of_the_log_shows_time_service_outcome_and_fields() -> None:
    assert shown(event="ready", ms=3, why="a b") == '12:01:02 ingest     ready ms=3 why="a b"'


def test_a_call_reads_as_its_rpc_its_status_and_its_duration() -> None:
    line = shown(event="call", method="/meterlog.x.v1.X/GetMeter", code="NOT_FOUND", duration_ms=1.9, reason="GONE")
    assert line == "12:01:02 ingest     GetMeter NOT_FOUND in 1.9 ms reason=GONE"


def test_a_stack_trace_follows_its_line() -> None:
    assert shown(event="failed", exception="Traceback\n  here").endswith("failed\nTraceback\n  here")


@pytest.mark.parametrize("raw", ["Traceback (most recent call last):", "[1]", "{", '{"no": "event"}', ""])
def test_a_line_that_is_no_log_document_is_shown_as_it_is(raw: str) -> None:
    assert parse_log_line("rating", raw).text == raw


def test_a_full_log_file_makes_room_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "LOG_BYTES_MAX", 10)
    log = LogFile(tmp_path / "logs" / "ingest.log")
    for line in ("first line, long", "second line, long", "third"):
        log.write(line)
    log.close()
    assert (tmp_path / "logs" / "ingest.log").read_text() == "third\n"
    assert (tmp_path / "logs" / "ingest.log.1").read_text() == "second line, long\n"
