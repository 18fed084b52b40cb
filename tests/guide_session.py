"""The sessions that a guide shows, run again: the commands of its terminal, and what each of them prints."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.var_lock import VarLock
from services.rpc.common_settings import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ROOT / "docs" / "guides"
COLUMNS = "150"
WAIT_S = 100.0

_PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Shown:
    """A command of a guide, and the lines that stand below it."""

    command: str
    lines: tuple[str, ...]


def shown_below(guide: str, heading: str) -> list[Shown]:
    """The commands of the indented blocks between a heading and the next of its level."""
    text = (GUIDES / guide).read_text()
    level = heading.split(" ", 1)[0]
    section = re.split(rf"^{level} ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", section, re.MULTILINE)
    session = "".join(re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in blocks if f"    {_PROMPT}" in block)
    joined = session.replace("\\\n", "")
    return [_shown(each) for each in re.split(rf"^{re.escape(_PROMPT)}", joined, flags=re.MULTILINE)[1:]]


def _shown(text: str) -> Shown:
    command, *lines = text.rstrip().splitlines()
    return Shown(command, tuple(line.rstrip() for line in lines))


@contextmanager
def platform_without_periods(var: Path) -> Iterator[Platform]:
    """Four services on free ports and an empty log, to which only those who are asked add anything."""
    environment = {**_without_settings(os.environ), "METERLOG_CLOSE_PERIODS": "none"}
    settings = PlatformSettings(var=var, port_base=0, environment=environment)
    with Platform(settings, VarLock.take(var), lambda _line: None) as platform:
        yield platform


def printed(command: str, var: Path, shims: Path) -> list[str]:
    """What a command of a shell prints, with `meterlog` as this tree has it; `shims` is an empty folder."""
    shim = shims / "meterlog"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli "$@"\n')
    shim.chmod(0o755)
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "proto/gen", "sdk/python"))
    environment = {
        **_without_settings(os.environ),
        "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "COLUMNS": COLUMNS,
        "METERLOG_VAR": str(var),
        "USER": "ann",
    }
    ran = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    return [*ran.stdout.splitlines(), *ran.stderr.splitlines()]


def ran_in_python(session: str, addresses: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A program of a guide, run with the addresses of these services in place of the usual ones."""
    for service, port in DEFAULT_PORTS.items():
        session = session.replace(f"127.0.0.1:{port}", addresses[service])
    path = os.pathsep.join(str(ROOT / folder) for folder in ("proto/gen", "sdk/python"))
    environment = {**_without_settings(os.environ), "PYTHONPATH": path}
    command = [sys.executable, "-W", "error", "-c", session]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)


def masked(lines: Iterable[str]) -> list[str]:
    """Lines without what differs from run to run: bars of progress, and since when something is counted."""
    shown = (line.rstrip() for line in lines if not re.search(r"━{20,} +[0-9]+%", line))
    return [re.sub(r"^(Since) .*", r"\1 #", line) for line in shown]


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("METERLOG_")}
