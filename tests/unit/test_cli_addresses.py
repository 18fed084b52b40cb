"""Where the commands find the services."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.addresses import (
    SERVICES,
    Running,
    default_addresses,
    find_addresses,
    read_running,
    remove_running,
    write_running,
)
from services.cli.failure import CommandFailed

ELSEWHERE = {service: f"127.0.0.1:{9000 + index}" for index, service in enumerate(SERVICES)}


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=30)
    return process.pid


def test_without_anything_the_default_ports_are_taken(tmp_path: Path) -> None:
    assert find_addresses(tmp_path, {}) == default_addresses()


def test_a_running_platform_says_where_it_is(tmp_path: Path) -> None:
    write_running(tmp_path, Running(os.getpid(), "sqlite:///log.db", ELSEWHERE))
    assert find_addresses(tmp_path, {}) == ELSEWHERE


def test_the_environment_wins_for_each_service_by_itself(tmp_path: Path) -> None:
    write_running(tmp_path, Running(os.getpid(), "sqlite:///log.db", ELSEWHERE))
    found = find_addresses(tmp_path, {"METERLOG_RATING_ADDRESS": "rating.example:443"})
    assert found == {**ELSEWHERE, "rating": "rating.example:443"}


def test_the_file_of_a_killed_platform_is_not_believed(tmp_path: Path) -> None:
    write_running(tmp_path, Running(dead_pid(), "sqlite:///log.db", ELSEWHERE))
    assert find_addresses(tmp_path, {}) == default_addresses()


def test_a_stopped_platform_leaves_nothing_behind(tmp_path: Path) -> None:
    write_running(tmp_path, Running(os.getpid(), "sqlite:///log.db", ELSEWHERE))
    remove_running(tmp_path)
    assert read_running(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", '{"pid": 1, "store_url": "x", "addresses": {"ingest": "x"}}', "[1]"])
def test_a_broken_file_is_named_instead_of_guessed_at(tmp_path: Path, content: str) -> None:
    (tmp_path / "addresses.json").write_text(content)
    with pytest.raises(CommandFailed, match=r"addresses\.json cannot be read"):
        find_addresses(tmp_path, {})
