"""A rebuild as a call sees it: what it was asked for, news of it in a bounded queue, and how it is cancelled."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from meterlog.common.v1 import projection_pb2 as api
from services.eventstore.event import BEGINNING, Position
from services.kernel.clock import monotonic_s
from services.kernel.errors import Conflict, DomainError, InvalidInput, RuleViolated, TimedOut
from services.projection.difference import EXAMPLES_MAX
from services.projection.operable import Operable
from services.projection.pace import Start
from services.projection.projection import Comparison, HeldRebuild, Rebuildable, RebuildMode, RebuildProgress
from services.rpc.projection_messages import outcome_message, progress_message

PROGRESS_TIMEOUT_S = 600.0
NEWS_MAX = 100
"""Messages of progress that wait for a slow caller; what comes beyond them is left out."""

_MODES = {
    api.REBUILD_MODE_UNSPECIFIED: RebuildMode.SWAP_WHEN_EQUAL,
    api.REBUILD_MODE_SWAP_WHEN_EQUAL: RebuildMode.SWAP_WHEN_EQUAL,
    api.REBUILD_MODE_COMPARE_ONLY: RebuildMode.COMPARE_ONLY,
    api.REBUILD_MODE_REPLACE: RebuildMode.REPLACE,
}


@dataclass(frozen=True, slots=True)
class RebuildOrder:
    """What a caller wants: BEGINNING as `start` means from the first event, as `until` to the end."""

    mode: RebuildMode
    start: Position
    until: Position
    examples: int

    def carry_out(self, projection: Rebuildable, call: "RebuildCall") -> Comparison | HeldRebuild:
        """Rebuild; raises what the projection raises, and Conflict (REBUILD_CANCELLED)."""
        if isinstance(projection, Operable):
            if self.until != BEGINNING:
                return projection.rebuild_until(until=self.until, progress=call.tell, start=self.start)
            return projection.rebuild(mode=self.mode, progress=call.tell, start=self.start, examples=self.examples)
        return projection.rebuild(mode=self.mode, progress=call.tell)

    def begun(self, first: RebuildProgress, began_s: float) -> Start:
        """Where it began. What a rebuild that goes on had folded before is not known sooner than its first progress."""
        return Start(self.start, 0 if self.start == BEGINNING else first.events, began_s)

    def target(self, progress: RebuildProgress) -> Position:
        """Where it goes."""
        return self.until if self.until != BEGINNING else progress.head_position


def parse_order(request: api.RebuildProjectionRequest, projection: Rebuildable) -> RebuildOrder:
    """The order in a request; raises InvalidInput, and RuleViolated where there is nothing to go on with."""
    if request.mode not in _MODES:
        raise InvalidInput(f"{request.mode} is no mode of a rebuild", field="mode")
    if not 0 <= request.example_keys_max <= EXAMPLES_MAX:
        raise InvalidInput(f"example_keys_max takes 0 to {EXAMPLES_MAX}", field="example_keys_max")
    for field, position in (("from_position", request.from_position), ("until_position", request.until_position)):
        if position < 0:
            raise InvalidInput(f"{position} is no position", field=field)
    if request.resume and request.from_position:
        raise InvalidInput("resume and from_position exclude each other; choose one", field="resume")
    if not isinstance(projection, Operable) and (request.resume or request.from_position or request.until_position):
        raise RuleViolated(
            f'"{projection.name}" is always built in one go; rebuild it from the first event to the end',
            reason="REBUILD_NOT_HELD",
        )
    start = _furthest(projection) if request.resume else Position(request.from_position)
    return RebuildOrder(_MODES[request.mode], start, Position(request.until_position), request.example_keys_max)


def _furthest(projection: Rebuildable) -> Position:
    held = projection.status().held
    if not held:
        raise RuleViolated(
            f'no rebuild of "{projection.name}" is held; start one from the first event', reason="NO_REBUILD_HELD"
        )
    return held[-1].position


class RebuildCall:
    """News from the thread that rebuilds to the one that answers."""

    def __init__(self) -> None:
        self._news: queue.Queue[RebuildProgress | Comparison | HeldRebuild | DomainError] = queue.Queue(NEWS_MAX)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the rebuild with the page in hand; safe to repeat, and when it has ended."""
        self._cancelled.set()

    def tell(self, progress: RebuildProgress) -> None:
        """Pass progress on; raises Conflict (REBUILD_CANCELLED) once it is cancelled."""
        if self._cancelled.is_set():
            raise Conflict(
                f"the rebuild was cancelled at position {progress.position}; where a projection holds rebuilds, "
                "`meterlog rebuild --resume` goes on with it and `--discard` drops it",
                reason="REBUILD_CANCELLED",
            )
        try:
            self._news.put_nowait(progress)
        except queue.Full:
            return

    def end(self, outcome: Comparison | HeldRebuild | DomainError) -> None:
        """Pass on how it ended, in place of progress where that fills the queue."""
        while True:
            try:
                return self._news.put_nowait(outcome)
            except queue.Full:
                self._news.get_nowait()

    def messages(self, order: RebuildOrder) -> Iterator[api.RebuildProjectionResponse]:
        """Progress, then the outcome; raises what the rebuild raised, and TimedOut when it tells nothing."""
        start: Start | None = None
        last: RebuildProgress | None = None
        began_s = monotonic_s()
        while True:
            item = self._next()
            if isinstance(item, DomainError):
                raise item
            if isinstance(item, RebuildProgress):
                start = start or order.begun(item, began_s)
                last = item
                pace = start.pace(item.position, order.target(item), item.events, monotonic_s())
                yield progress_message(item, pace)
            else:
                start = start or Start(item.position, 0, began_s)
                events = last.events if last else 0
                yield outcome_message(item, last, start.pace(item.position, item.position, events, monotonic_s()))
                return

    def _next(self) -> RebuildProgress | Comparison | HeldRebuild | DomainError:
        try:
            return self._news.get(timeout=PROGRESS_TIMEOUT_S)
        except queue.Empty:
            self.cancel()
            raise TimedOut(f"the rebuild made no progress for {PROGRESS_TIMEOUT_S:.0f} s; see the log") from None
