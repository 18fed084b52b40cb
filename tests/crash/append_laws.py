"""The laws between what the clients of a log were told and the log: nothing lost, doubled, torn or made up."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.eventstore.event import ANY_VERSION, RecordedEvent
from services.kernel.clock import epoch_us
from tests.crash.history import Answer, Attempt, Outcome
from tests.crash.law import Law, Violation, broken
from tests.crash.log_laws import USAGE


@dataclass(frozen=True, slots=True)
class _Wish:
    """One append with all attempts at it, the first one first."""

    ids: tuple[str, ...]
    attempts: tuple[Attempt, ...]

    @property
    def first(self) -> Attempt:
        return self.attempts[0]

    @property
    def acknowledged(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.outcome is Outcome.ACKNOWLEDGED]

    @property
    def name(self) -> str:
        return f"the append of {len(self.ids)} to {self.first.stream} by {self.first.client} ({self.ids[0][:12]}…)"


def append_violations(attempts: Sequence[Attempt], log: Sequence[RecordedEvent]) -> list[Violation]:
    """Check every attempt against the final log."""
    wishes = _wishes(attempts)
    places = _places(log)
    return [
        *broken(Law.FORESEEN, [_unforeseen(each) for each in attempts if each.outcome is Outcome.UNFORESEEN]),
        *broken(Law.KEPT, [wish.name for wish in wishes if wish.acknowledged and _missing(wish, places)]),
        *broken(Law.WHOLE, [wish.name for wish in wishes if _is_torn(wish, places)]),
        *broken(Law.IN_PLACE, [text for wish in wishes for text in _misplaced(wish, places, log)]),
        *broken(Law.EXPECTED_VERSION, [text for wish in wishes for text in _behind_another(wish, places, log)]),
        *broken(Law.REFUSED_STAYS_OUT, [wish.name for wish in wishes if _refused_yet_there(wish, places)]),
        *broken(Law.REFUSED_FOR_A_REASON, _groundless(attempts, log)),
        *broken(Law.NO_PHANTOM, _phantoms(attempts, log)),
        *broken(Law.REAL_TIME, _out_of_time(wishes, places)),
    ]


def _wishes(attempts: Sequence[Attempt]) -> list[_Wish]:
    """Attempts at the same event ids are the same append: a repeat has all of them, or is none."""
    gathered: dict[tuple[str, ...], list[Attempt]] = {}
    for attempt in attempts:
        gathered.setdefault(attempt.ids, []).append(attempt)
    return [_Wish(ids, tuple(sorted(made, key=lambda each: each.invoked_ns))) for ids, made in gathered.items()]


def _places(log: Sequence[RecordedEvent]) -> dict[str, int]:
    """Index in the log by event id; the first one of an id that is there twice, which is another law's concern."""
    return {event.id.hex: index for index, event in reversed(list(enumerate(log)))}


def _missing(wish: _Wish, places: dict[str, int]) -> bool:
    return any(event_id not in places for event_id in wish.ids)


def _is_torn(wish: _Wish, places: dict[str, int]) -> bool:
    found = [places[event_id] for event_id in wish.ids if event_id in places]
    if not found:
        return False
    return found != list(range(found[0], found[0] + len(wish.ids)))


def _misplaced(wish: _Wish, places: dict[str, int], log: Sequence[RecordedEvent]) -> list[str]:
    if _missing(wish, places):
        return []
    standing = [log[places[event_id]] for event_id in wish.ids]
    last = standing[-1]
    true = Answer(
        last.position, last.version, epoch_us(last.recorded_at), tuple(event.leaf.hex() for event in standing)
    )
    told = [attempt.answer for attempt in wish.acknowledged]
    return [f"{wish.name} was answered {_shown(answer)}, and is {_shown(true)}" for answer in told if answer != true]


def _shown(answer: Answer | None) -> str:
    if answer is None:
        return "nothing"
    leaves = "/".join(leaf[:6] for leaf in answer.leaves[:3])
    return f"@{answer.position} v{answer.version} at {answer.recorded_at_us} {leaves}"


def _behind_another(wish: _Wish, places: dict[str, int], log: Sequence[RecordedEvent]) -> list[str]:
    expected = wish.first.expected
    if expected == ANY_VERSION or wish.ids[0] not in places:
        return []
    version = log[places[wish.ids[0]]].version
    return [f"{wish.name} expected {expected} and begins at version {version}"] if version != expected + 1 else []


def _refused_yet_there(wish: _Wish, places: dict[str, int]) -> bool:
    """Refused for good: at every attempt, or because other events stand in its place, which they do for ever."""
    refusals = [attempt for attempt in wish.attempts if attempt.outcome is Outcome.REFUSED]
    was_never_written = len(refusals) + _turned_away(wish) == len(wish.attempts)
    is_passed = wish.first.is_recognisable and any(int(each.detail) > each.expected for each in refusals)
    return (was_never_written or is_passed) and any(event_id in places for event_id in wish.ids)


def _turned_away(wish: _Wish) -> int:
    return sum(attempt.outcome is Outcome.TURNED_AWAY for attempt in wish.attempts)


def _groundless(attempts: Sequence[Attempt], log: Sequence[RecordedEvent]) -> list[str]:
    newest = {str(event.stream): event.version for event in log}
    return [
        f"{each.client} expected {each.expected} of {each.stream}, was told {each.detail}; it ends at "
        f"{newest.get(each.stream, -1)}"
        for each in attempts
        if each.outcome is Outcome.REFUSED
        and (int(each.detail) == each.expected or int(each.detail) > newest.get(each.stream, -1))
    ]


def _phantoms(attempts: Sequence[Attempt], log: Sequence[RecordedEvent]) -> list[str]:
    asked = {(event_id, attempt.stream) for attempt in attempts for event_id in attempt.ids}
    return [
        f"{event.id.hex} at {event.position} of {event.stream}"
        for event in log
        if event.stream.category != USAGE and (event.id.hex, str(event.stream)) not in asked
    ]


def _out_of_time(wishes: Sequence[_Wish], places: dict[str, int]) -> list[str]:
    """Backwards through the log: nothing that stands later may have been acknowledged before this one began."""
    standing = sorted((wish for wish in wishes if wish.ids[0] in places), key=lambda wish: -places[wish.ids[0]])
    found: list[str] = []
    earliest: tuple[int, str] | None = None
    for wish in standing:
        if earliest and earliest[0] < wish.first.invoked_ns:
            found.append(f"{wish.name} stands before {earliest[1]}, which was acknowledged before it began")
        ends = [attempt.ended_ns for attempt in wish.acknowledged if attempt.ended_ns is not None]
        if ends and (earliest is None or min(ends) < earliest[0]):
            earliest = (min(ends), wish.name)
    return found


def _unforeseen(attempt: Attempt) -> str:
    return f"{attempt.client} appended to {attempt.stream}: {attempt.detail}"
