"""Named points at which a test may end, stop or fail a process: the crash matrix goes through all of them.

They do nothing unless METERLOG_FAILPOINTS names them, as `<name>=<action>[@<n>]` separated by commas: at the n-th
passage (default: the first) the action happens, once.

    kill      the process ends as by SIGKILL
    error     Unavailable is raised
    hang      the thread sleeps HANG_S
"""

import os
import signal
import threading
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
    }
)
"""Every point there is, so that a matrix over them leaves none out."""


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"
    ERROR = "error"
    HANG = "hang"


class Failpoints:
    """The points that are armed, each with its action and the passages left until it happens."""

    def __init__(self, text: str) -> None:
        """Raises InvalidInput for an unknown point or action."""
        self._armed = dict(_parsed(part) for part in text.split(",") if part.strip())
        self._counting = threading.Lock()

    def pass_by(self, name: str) -> None:
        """Do what is armed at `name`; raises Unavailable for `error`."""
        assert name in NAMES, f"{name} is no failpoint; add it to NAMES"
        if self._armed and self._is_due(name):
            _act(self._armed[name][0], name)

    def _is_due(self, name: str) -> bool:
        with self._counting:
            action, left = self._armed.get(name, (Action.ERROR, 0))
            if left:
                self._armed[name] = (action, left - 1)
            return left == 1


def _parsed(part: str) -> tuple[str, tuple[Action, int]]:
    name, _, rest = part.strip().partition("=")
    action, _, count = rest.partition("@")
    if name not in NAMES or action not in set(Action) or not (count or "1").isdecimal():
        raise InvalidInput(f'"{part}" is no failpoint; write <name>=<kill|error|hang>[@<n>]', field=VARIABLE)
    return name, (Action(action), int(count or "1"))


def _act(action: Action, name: str) -> None:
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
