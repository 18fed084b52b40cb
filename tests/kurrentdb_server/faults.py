"""What can go wrong on the way, switched on by tests at run time or by chance in a long run."""

import random
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A fault by name; some take an amount: a number of events, or seconds."""

    UNAVAILABLE_BEFORE_COMMIT = "unavailable-before-commit"
    UNAVAILABLE_AFTER_COMMIT = "unavailable-after-commit"
    SILENT_BEFORE_COMMIT = "silent-before-commit"
    SILENT_AFTER_COMMIT = "silent-after-commit"
    RESET_BEFORE_COMMIT = "reset-before-commit"
    RESET_AFTER_COMMIT = "reset-after-commit"
    TIMEOUT_BEFORE_COMMIT = "timeout-before-commit"
    TIMEOUT_AFTER_COMMIT = "timeout-after-commit"
    NOT_READY = "not-ready"
    NOT_LEADER = "not-leader"
    SLOW_COMMIT = "slow-commit"  # amount: seconds
    READ_UNAVAILABLE = "read-unavailable"
    READ_CUT = "read-cut"  # amount: events before the cut
    READ_SILENT = "read-silent"  # amount: events before the silence
    SUBSCRIPTION_CUT = "subscription-cut"  # amount: events before the cut
    SUBSCRIPTION_SILENT = "subscription-silent"  # amount: events before the silence
    SUBSCRIPTION_REPEATS = "subscription-repeats"  # amount: events told again
    CONSUMER_TOO_SLOW = "consumer-too-slow"  # amount: events before the drop


DEFAULT_AMOUNT = 1.0


@dataclass(slots=True)
class _Armed:
    times: int
    after: int
    amount: float


class Faults:
    """Strikes as often as it was armed for, and by chance where a rate is set; the same seed, the same chances."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._armed: dict[Fault, _Armed] = {}
        self._rates: dict[Fault, tuple[float, float]] = {}
        self._struck: Counter[Fault] = Counter()
        self._lock = threading.Lock()

    def arm(self, fault: Fault, *, times: int = 1, after: int = 0, amount: float = DEFAULT_AMOUNT) -> None:
        """Let `after` calls pass, then strike `times` calls."""
        with self._lock:
            self._armed[fault] = _Armed(times, after, amount)

    def rate(self, fault: Fault, probability: float, *, amount: float = DEFAULT_AMOUNT) -> None:
        """Strike each call with that probability, from 0 to 1."""
        with self._lock:
            self._rates[fault] = (probability, amount)

    def clear(self) -> None:
        """Nothing strikes any more."""
        with self._lock:
            self._armed.clear()
            self._rates.clear()

    def struck(self, fault: Fault) -> int:
        """How often it struck so far."""
        return self._struck[fault]

    def strike(self, fault: Fault) -> float | None:
        """Its amount when it strikes this call, otherwise None."""
        with self._lock:
            amount = self._armed_amount(fault)
            if amount is None:
                amount = self._chance_amount(fault)
            if amount is not None:
                self._struck[fault] += 1
            return amount

    def _armed_amount(self, fault: Fault) -> float | None:
        armed = self._armed.get(fault)
        if armed is None or armed.times == 0:
            return None
        if armed.after > 0:
            armed.after -= 1
            return None
        armed.times -= 1
        return armed.amount

    def _chance_amount(self, fault: Fault) -> float | None:
        probability, amount = self._rates.get(fault, (0.0, 0.0))
        return amount if probability and self._random.random() < probability else None
