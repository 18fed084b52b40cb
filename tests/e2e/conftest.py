"""The platform as its users have it: the command, and four services as processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.ports import ANY_PORT
from services.cli.processes.var_lock import VarLock
from tests.stores import STORES

COMMAND_TIMEOUT_S = 90
CLOCK_START = datetime(2023, 11, 16, 20, tzinfo=UTC)

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "services.cli", *arguments]


def own_environment(**variables: str) -> dict[str, str]:
    """Nothing of the METERLOG_* settings of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("METERLOG_")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200", **variables}


@pytest.fixture
def meterlog() -> Run:
    """Runs a command to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=own_environment(**variables),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    return run


@pytest.fixture
def meterlog_started() -> Start:
    """Starts a command, which is killed in the end if it still runs."""

    @contextmanager
    def start(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            command(*arguments),
            env=own_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return start


@contextmanager
def four_services(var: Path, **variables: str) -> Iterator[Platform]:
    """On free ports, with an empty log and a clock that stands in November 2023 until it is advanced."""
    settings = PlatformSettings(
        var,
        port_base=ANY_PORT,
        is_clock_simulated=True,
        clock_start=CLOCK_START,
        allows_loopback_webhooks=True,
        environment=own_environment(**variables),
    )
    with Platform(settings, VarLock.take(var), lambda _line: None) as platform:
        yield platform


@pytest.fixture
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    """A platform of the test's own, on embedded stores, or on that of STORES which the test is parametrised with."""
    store = STORES[getattr(request, "param", "sqlite")]
    with store() as variables, four_services(tmp_path / "var", **variables) as platform:
        yield platform


@pytest.fixture(scope="module")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for those tests of a module that change nothing the others look at."""
    with four_services(tmp_path_factory.mktemp("shared") / "var") as platform:
        yield platform
