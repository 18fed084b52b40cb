"""The laws that a log and its clients keep, whatever crashes; a violation names the one that was broken."""

from dataclasses import dataclass
from enum import StrEnum


class Law(StrEnum):
    """One promise each."""

    KEPT = "an acknowledged append is in the log"
    IN_PLACE = "an append stands where its client was told, with the leaves and the time that it was told"
    ONCE = "an event is in the log once"
    NO_PHANTOM = "an event of the log was appended by somebody, as it is"
    WHOLE = "an append is in the log in one piece, or not at all"
    EXPECTED_VERSION = "an append stands behind the version that it expected"
    REFUSED_STAYS_OUT = "a refused append is not in the log"
    REFUSED_FOR_A_REASON = "an append is refused only when its stream is at another version"
    STREAM_ORDER = "versions count from 0 in each stream, in log order"
    POSITIONS = "positions rise; where the backend counts them, they are 1, 2, 3"
    REAL_TIME = "what was acknowledged before another append began stands before it"
    NO_SKIP = "a subscription delivers every event up to where it says it is"
    NO_REPEAT = "a subscription delivers an event once, in log order"
    RESUMED = "a subscription goes on exactly where its client stands"
    TRUE_DELIVERY = "what is delivered or read is in the log"
    FRESH_READ = "a read sees what was acknowledged before it began, and what the same client saw before"
    CHAIN = "the audit chain verifies"
    PROJECTION = "a projection equals a fold of the log"
    DEDUPE = "what was acknowledged is known for ever: a repeat is a duplicate, other content a conflict"
    WINDOWS = "usage is what a plain count of the log says, whenever it is asked for, and as of whatever position"
    PERIODS = "a period closes once, each statement follows from the one before, and says what was so at its position"
    ARCHIVE = "the archive holds each usage event of the log up to its position once, as it was recorded"
    OUTLIVES = "what a service keeps beside the log outlives a kill: none of it is discarded and made anew"
    CONVERGED = "once the trouble is over, everybody reaches the end of the log in time"
    FORESEEN = "an error is one that the port promises"


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, and by what."""

    law: Law
    evidence: str

    def __str__(self) -> str:
        return f"{self.law.name}: {self.evidence} (the law: {self.law})"


EVIDENCE_MAX = 5
"""Violations of one law that are reported by one check; where there are five there are often five thousand."""


def broken(law: Law, evidence: list[str]) -> list[Violation]:
    """The first few violations of a law."""
    return [Violation(law, text) for text in evidence[:EVIDENCE_MAX]]
