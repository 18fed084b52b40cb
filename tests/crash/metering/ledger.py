"""What clients sent and were told: kept in the memory of the test, which outlives every service."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from meterlog.ingest.v1.ingest_pb2 import Receipt
from tests.crash.metering.plain_log import Name
from tests.plain_usage import Event


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to one usage event; `position` is 0 when the door tells none."""

    name: Name
    outcome: str
    position: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to a usage query over all subjects, as of `position`; `as_of` says that this was asked for.

    `replica` is the address that answered.
    """

    meter: str
    position: int
    is_as_of: bool
    at_least: int
    rows: dict[tuple[str, tuple[str, ...]], str]
    replica: str = ""


@dataclass(slots=True)
class Ledger:
    """Safe to write from any thread."""

    sent: dict[Name, Event] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    contradicted: list[Told] = field(default_factory=list)
    """Answers to a recorded id sent with other content."""
    decided: list[tuple[str, str]] = field(default_factory=list)
    """Corrections, backfills and meters that were acknowledged: kind of stored event, key."""
    attempted: set[tuple[str, str]] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Answers that no client should get."""
    lost_answers: int = 0
    acknowledged_position: int = 0
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def send(self, usage: Iterable[tuple[Name, Event]]) -> None:
        """Note what is about to be sent."""
        with self._writing:
            self.sent.update(usage)

    def tell(self, told: Sequence[Told], receipts: Iterable[Receipt]) -> None:
        """Note an answer."""
        with self._writing:
            self.told += told
            for receipt in receipts:
                self.receipts[receipt.SerializeToString(deterministic=True)] = receipt
            positions = (each.position for each in told)
            self.acknowledged_position = max(self.acknowledged_position, *positions, 0)

    def attempt(self, kind: str, key: str) -> None:
        """Note what is about to be decided."""
        with self._writing:
            self.attempted.add((kind, key))

    def decide(self, kind: str, key: str) -> None:
        """Note what was decided, and answered."""
        with self._writing:
            self.decided.append((kind, key))

    def lose(self) -> None:
        """Note a call without an answer."""
        with self._writing:
            self.lost_answers += 1

    def complain(self, text: str) -> None:
        """Note what should not be."""
        with self._writing:
            self.complaints.append(text)
