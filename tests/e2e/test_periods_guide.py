"""The session in docs/guides/periods.md prints what the guide says, against services that really run."""

import os
import re
import subprocess
import sys
from pathlib import Path

from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.var_lock import VarLock
from services.rpc.common_settings import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs/guides/periods.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_session_with_periods_prints_what_the_guide_says(tmp_path: Path) -> None:
    session = block("python")
    environment = {**os.environ, "METERLOG_CLOSE_PERIODS": "hour@Asia/Kathmandu", "METERLOG_RESTATE_EVERY_S": "0"}
    settings = PlatformSettings(var=tmp_path, port_base=0, environment=environment)
    with Platform(settings, VarLock.take(tmp_path), lambda _line: None) as platform:
        for service, port in DEFAULT_PORTS.items():
            session = session.replace(f"127.0.0.1:{port}", platform.addresses[service])
        command = [sys.executable, "-W", "error", "-c", session]
        path = os.pathsep.join(str(ROOT / folder) for folder in ("proto/gen", "sdk/python"))
        ran = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
        )
    assert (ran.stdout, ran.stderr) == (block("text"), "")
