"""Waits until usage says what was decided, with a bar that shows how far the count of earlier usage is."""

import threading
from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from services.cli.connection import Services
from services.cli.failure import CommandFailed
from services.cli.refusal import CallFailed
from services.cli.screen import Screen
from services.kernel.clock import monotonic_s

SHOWN_AFTER_S: Final = 1.0
SAID_EVERY_S: Final = 5.0
"""How often a line says how far it is, where no bar can be drawn."""

WAITED_MAX_S: Final = 24 * 3600.0
TROUBLE_MAX_S: Final = 30.0
"""For so long a service may be away, or its count stand still, before nobody waits any more."""

PAUSE_MIN_S: Final = 0.01
PAUSE_MAX_S: Final = 0.5

_STEPS: Final = {
    aggregator.COUNTING_STEP_SEARCHING: "looking for what it touches",
    aggregator.COUNTING_STEP_COUNTING: "counting",
}


def wait_until_counted(services: Services, position: int, screen: Screen) -> None:
    """Return when usage is counted up to a log position; raises CommandFailed, and the count goes on."""
    began_s = well_s = monotonic_s()
    pause_s = PAUSE_MIN_S
    with _Shown(screen) as shown:
        while monotonic_s() - began_s < WAITED_MAX_S:
            trouble = ""
            try:
                state = services.aggregator.call(services.meters.GetCounting, aggregator.GetCountingRequest())
            except CallFailed as failed:
                if failed.code.name != "UNAVAILABLE":
                    raise
                trouble = failed.message
            else:
                if state.position >= position:
                    return
                trouble = state.problem
                shown.show(state.counting)
            well_s = well_s if trouble else monotonic_s()
            if monotonic_s() - well_s > TROUBLE_MAX_S:
                raise _unfinished(position, trouble)
            threading.Event().wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
    raise _unfinished(position, "it takes longer than a day")


def counting_text(counting: aggregator.Counting) -> str:
    """How far a count is, in a line."""
    step = _STEPS.get(counting.step, "waiting for its turn")
    if not counting.total_count:
        return step
    left = f", about {counting.seconds_left} s left" if counting.HasField("seconds_left") else ""
    share = 100 * counting.done_count // counting.total_count
    return f"{step}: {counting.done_count} of {counting.total_count} usage events ({share} %){left}"


def _unfinished(position: int, why: str) -> CommandFailed:
    return CommandFailed(
        f"what was decided is in the log, at position {position}, and usage does not say so yet: {why}. "
        "`meterlog meters counting` shows how far it is",
        reason="STILL_COUNTING",
    )


class _Shown:
    """A bar on a terminal, else a line now and then; nothing for what is over soon."""

    def __init__(self, screen: Screen) -> None:
        self._people = screen.people
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]}"),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=screen.people, transient=True)
        self._bar = self._bars.add_task("waiting", total=None, rows="")
        self._next_s = monotonic_s() + SHOWN_AFTER_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars.live.is_started:
            self._bars.stop()

    def show(self, counting: aggregator.Counting) -> None:
        """Show how far it is, when it is time to."""
        if monotonic_s() < self._next_s:
            return
        if not self._people.is_terminal:
            self._people.print(counting_text(counting), soft_wrap=True)
            self._next_s = monotonic_s() + SAID_EVERY_S
            return
        self._bars.start()
        rows = f"{counting.done_count} of {counting.total_count} usage events" if counting.total_count else ""
        left = f", about {counting.seconds_left} s left" if counting.HasField("seconds_left") else ""
        self._bars.update(
            self._bar,
            description=_STEPS.get(counting.step, "waiting for its turn"),
            completed=counting.done_count,
            total=counting.total_count or None,
            rows=rows + left,
        )
