"""Which deliveries are under way, and how the free slots are shared among endpoints.

Each endpoint has a window that starts at 1, grows by 1 with each success up to WINDOW_MAX, and falls back to 1 with a
failure. Endpoints that are not proven (the last attempt failed, or there was none yet) share at most half of the slots.
So however many receivers hang, they hold one slot each and half of them together, and delay none that answers.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.eventstore.event import Position
from services.notifier.delivery import DeliveryKey

WINDOW_FIRST = 1
WINDOW_MAX = 8


@dataclass(frozen=True, slots=True)
class Demand:
    """Ids of the messages that are due to one endpoint, longest due first, without those that are busy."""

    endpoint: str
    due: tuple[str, ...]


@dataclass(slots=True)
class _Lane:
    """What is known of one endpoint since the start. A busy message is under way while it has no position."""

    window: int = WINDOW_FIRST
    is_proven: bool = False
    under_way: int = 0
    last_begun: int = 0
    busy: dict[str, Position | None] = field(default_factory=dict)

    @property
    def room(self) -> int:
        return max(0, self.window - self.under_way)


class Traffic:
    """Everything under way. Safe to share between threads."""

    def __init__(self, slots: int) -> None:
        """`slots` deliveries may be under way at once."""
        self._slots = slots
        self._lanes: dict[str, _Lane] = {}
        self._begun = 0
        self._lock = threading.Lock()

    def busy_with(self, endpoint: str) -> frozenset[str]:
        """Ids of messages to the endpoint whose attempt runs, or is recorded and not yet folded into the tables."""
        with self._lock:
            return frozenset(self._lane(endpoint).busy)

    def room(self, endpoint: str) -> int:
        """How many more deliveries the endpoint's window lets in."""
        with self._lock:
            return self._lane(endpoint).room

    def admit(self, demands: Iterable[Demand]) -> list[DeliveryKey]:
        """Begin as many deliveries as windows and slots allow, and return them.

        First comes always the one whose endpoint has the fewest under way, then the one whose endpoint was served
        longest ago. They count as under way until `end` is told of each.
        """
        with self._lock:
            admitted = self._chosen(self._in_fair_order(demands))
            for message_id, endpoint in admitted:
                self._begin(self._lane(endpoint), message_id)
            return admitted

    def end(self, key: DeliveryKey, recorded_at: Position, *, is_success: bool) -> None:
        """The attempt is recorded at this position of the log; its message stays busy until that is folded."""
        message_id, endpoint = key
        with self._lock:
            lane = self._lane(endpoint)
            lane.busy[message_id] = recorded_at
            lane.under_way -= 1
            lane.is_proven = is_success
            lane.window = min(WINDOW_MAX, lane.window + 1) if is_success else WINDOW_FIRST

    def settle(self, folded: Position) -> None:
        """The tables are folded up to this position of the log."""
        with self._lock:
            for lane in self._lanes.values():
                lane.busy = {message: at for message, at in lane.busy.items() if at is None or at > folded}

    def _chosen(self, keys: Iterable[DeliveryKey]) -> list[DeliveryKey]:
        chosen: list[DeliveryKey] = []
        free, free_for_unproven = self._free_slots()
        for key in keys:
            is_proven = self._lane(key[1]).is_proven
            if len(chosen) >= free or (not is_proven and free_for_unproven <= 0):
                continue
            free_for_unproven -= not is_proven
            chosen.append(key)
        return chosen

    def _free_slots(self) -> tuple[int, int]:
        lanes = self._lanes.values()
        under_way = sum(lane.under_way for lane in lanes)
        unproven_under_way = sum(lane.under_way for lane in lanes if not lane.is_proven)
        return self._slots - under_way, max(1, self._slots // 2) - unproven_under_way

    def _in_fair_order(self, demands: Iterable[Demand]) -> Sequence[DeliveryKey]:
        ranked: list[tuple[int, int, int, DeliveryKey]] = []
        for order, demand in enumerate(demands):
            lane = self._lane(demand.endpoint)
            for index, message_id in enumerate(demand.due[: lane.room]):
                ranked.append((lane.under_way + index, lane.last_begun, order, (message_id, demand.endpoint)))
        return [key for *_, key in sorted(ranked)]

    def _begin(self, lane: _Lane, message_id: str) -> None:
        self._begun += 1
        lane.last_begun = self._begun
        lane.busy[message_id] = None
        lane.under_way += 1

    def _lane(self, endpoint: str) -> _Lane:
        return self._lanes.setdefault(endpoint, _Lane())
