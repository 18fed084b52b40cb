"""Named points at which a test may end, stop or fail a process: the crash matrix goes through all of them.

They do nothing unless METERLOG_FAILPOINTS names them, as `<name>=<action>[@<n>[+<every>]]` separated by commas: at the
n-th passage (default: the first) the action happens, then again at each `every`-th passage, or never again.

    kill      the process ends as by SIGKILL
    error     Unavailable is raised
    hang      the thread sleeps HANG_S

What happens is said on standard error first, so that a test knows a point was reached.
"""

import os
import re
import signal
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.kernel.errors import InvalidInput, Unavailable

VARIABLE: Final = "METERLOG_FAILPOINTS"
HANG_S: Final = 3_600.0

NAMES: Final = frozenset(
    {
        "append.before_write",
        "append.before_commit",
        "append.after_commit",
        "append.after_answer",
        "fold.before_write",
        "fold.before_checkpoint",
        "fold.before_commit",
        "fold.after_commit",
        "swap.before_commit",
        "swap.after_commit",
        "index.before_commit",
        "index.after_commit",
        "archive.before_file",
        "archive.after_file",
        "archive.before_commit",
        "archive.after_commit",
        "archive.after_delete",
        "index.before_spill",
        "index.after_spill",
        "index.before_merge",
        "index.after_merge",
    }
)
"""Every point there is, so that a matrix over them leaves none out."""


_STANDARD_ERROR: Final = 2
_PART: Final = re.compile(
    r"(?P<name>[\w.]+)=(?P<action>\w+)(?:@(?P<first>[1-9]\d{0,8})(?:\+(?P<every>[1-9]\d{0,8}))?)?"
)


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"
    ERROR = "error"
    HANG = "hang"


@dataclass(slots=True)
class _Armed:
    """What happens at a point, the passages left until it does (0: never again), and the passages to the next time."""

    action: Action
    left: int
    every: int


class Failpoints:
    """The points that are armed."""

    def __init__(self, text: str) -> None:
        """Raises InvalidInput for an unknown point or action."""
        self._armed = dict(_parsed(part) for part in text.split(",") if part.strip())
        self._counting = threading.Lock()

    def pass_by(self, name: str) -> None:
        """Do what is armed at `name`; raises Unavailable for `error`."""
        assert name in NAMES, f"{name} is no failpoint; add it to NAMES"
        armed = self._armed.get(name)
        if armed is not None and self._is_due(armed):
            _act(armed.action, name)

    def _is_due(self, armed: _Armed) -> bool:
        with self._counting:
            is_due = armed.left == 1
            armed.left = armed.every if is_due else max(0, armed.left - 1)
            return is_due


def announcement(name: str, action: Action) -> str:
    """The line on standard error when `action` happens at `name`."""
    return f"failpoint {name}: {action}\n"


def _parsed(part: str) -> tuple[str, _Armed]:
    found = _PART.fullmatch(part.strip())
    if found is None or found["name"] not in NAMES or found["action"] not in set(Action):
        raise InvalidInput(f'"{part}" is no failpoint; write <name>=<kill|error|hang>[@<n>[+<every>]]', field=VARIABLE)
    return found["name"], _Armed(Action(found["action"]), int(found["first"] or "1"), int(found["every"] or "0"))


def _act(action: Action, name: str) -> None:
    os.write(_STANDARD_ERROR, announcement(name, action).encode())
    match action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.ERROR:
            raise Unavailable(f"failpoint {name}", reason="FAILPOINT")
        case Action.HANG:
            threading.Event().wait(HANG_S)


_FAILPOINTS: Final = Failpoints(os.environ.get(VARIABLE, ""))

fail_at: Final = _FAILPOINTS.pass_by
"""Pass the point `name`: nothing happens, unless a test armed it when the process started."""
