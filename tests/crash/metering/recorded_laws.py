"""The laws of what was sent: what was acknowledged is in the log once, as it was sent, where its receipt says."""

from collections import Counter

from services.kernel.clock import epoch_us
from services.kernel.timestamp import from_timestamp
from tests.crash.law import Law, Violation, broken
from tests.crash.metering.ledger import Ledger, Told
from tests.crash.metering.plain_log import Name, PlainLog

RECORDED = {"recorded", "duplicate"}


def recorded_violations(ledger: Ledger, log: PlainLog) -> list[Violation]:
    """Check what was sent and told against the log."""
    counts = Counter(log.names.values())
    standing = standing_of(log)
    again = Counter(each.name for each in ledger.told if each.outcome == "recorded")
    return [
        *broken(Law.ONCE, [f"usage {name} is there {count} times" for name, count in counts.items() if count > 1]),
        *broken(Law.ONCE, [f"usage {name} was recorded {count} times" for name, count in again.items() if count > 1]),
        *broken(Law.NO_PHANTOM, [f"usage {name}" for name in counts if name not in ledger.sent]),
        *broken(Law.NO_PHANTOM, _changed(ledger, log)),
        *broken(Law.KEPT, [f"usage {each.name}" for each in ledger.told if each.name not in counts]),
        *broken(Law.DEDUPE, [f"{each}" for each in ledger.told if each.outcome not in RECORDED]),
        *broken(Law.DEDUPE, [f"contradicted, {each}" for each in ledger.contradicted if each.outcome != "conflict"]),
        *broken(Law.IN_PLACE, _elsewhere([*ledger.told, *ledger.contradicted], standing)),
        *broken(Law.IN_PLACE, _bad_receipts(ledger, log)),
        *broken(Law.KEPT, [f"decision {each}" for each in _lost_decisions(ledger, log)]),
        *broken(Law.NO_PHANTOM, _made_up_decisions(ledger, log)),
        *broken(Law.ONCE, _doubled_decisions(ledger, log)),
        *broken(Law.FORESEEN, ledger.complaints),
    ]


def repeated_violations(told: list[Told], log: PlainLog, late: PlainLog) -> list[Violation]:
    """Check what was told when everything in the log was sent once more; `late` is the log after that."""
    standing = standing_of(log)
    added = [f"usage {name} came again" for place, name in late.names.items() if place not in log.names]
    return [
        *broken(Law.ONCE, added),
        *broken(Law.DEDUPE, [f"once more, {each}" for each in told if each.outcome != "duplicate"]),
        *broken(Law.IN_PLACE, _elsewhere(told, standing)),
    ]


def standing_of(log: PlainLog) -> dict[Name, int]:
    """Where each usage event stands first."""
    standing: dict[Name, int] = {}
    for (position, _), name in log.names.items():
        standing.setdefault(name, position)
    return standing


def _changed(ledger: Ledger, log: PlainLog) -> list[str]:
    """Usage events that say something else than was sent under their name."""
    return [
        f"{name} says {usage.event}, sent was {sent}"
        for usage in log.usage
        for name in (log.names[usage.position, usage.row],)
        for sent in (ledger.sent.get(name, usage.event),)
        if sent != usage.event
    ]


def _elsewhere(told: list[Told], standing: dict[Name, int]) -> list[str]:
    return [
        f"{each} stands at {standing[each.name]}"
        for each in told
        if each.position and each.name in standing and standing[each.name] != each.position
    ]


def _bad_receipts(ledger: Ledger, log: PlainLog) -> list[str]:
    found = []
    for receipt in ledger.receipts.values():
        event = log.events.get(receipt.position)
        told = (receipt.stream, receipt.version, receipt.leaf, epoch_us(from_timestamp(receipt.recorded_at)))
        if event is None or told != (str(event.stream), event.version, event.leaf, epoch_us(event.recorded_at)):
            found.append(f"receipt {receipt} is of {event}")
    return found


_CATEGORIES = {
    "meter": ("meter", 0),
    "correction": ("correction", 0),
    "reverted": ("correction", 1),
    "opened": ("backfill", 0),
    "closed": ("backfill", 1),
    "dropped": ("backfill", 2),
}
"""Where a decision stands: the category of its stream, and the least version."""


def _lost_decisions(ledger: Ledger, log: PlainLog) -> list[tuple[str, str]]:
    """Decisions that were answered and are not in the log."""
    streams = {(str(event.stream), event.version) for event in log.events.values()}
    lost = []
    for kind, key in ledger.decided:
        if kind == "redefined":
            slug, _, version = key.partition("/")
            place = (f"meter-{slug}", int(version) - 1)
        else:
            category, least = _CATEGORIES[kind]
            place = (f"{category}-{key}", least)
        if place not in streams:
            lost.append((kind, key))
    return lost


_FIRST = {"meter": "meter", "correction": "correction", "opened": "backfill"}
"""Which kinds of decisions begin a stream, and of which category."""


def _made_up_decisions(ledger: Ledger, log: PlainLog) -> list[str]:
    """Streams of decisions that nobody asked for."""
    asked = {f"{_FIRST[kind]}-{key}" for kind, key in ledger.attempted if kind in _FIRST}
    categories = set(_FIRST.values())
    streams = {str(event.stream) for event in log.events.values() if event.stream.category in categories}
    return sorted(streams - asked)


def _doubled_decisions(ledger: Ledger, log: PlainLog) -> list[str]:
    """Streams that say more than was decided: what was repeated for want of an answer was taken for something new."""
    streams = Counter(str(event.stream) for event in log.events.values())
    asked = Counter(_stream_of(kind, key) for kind, key in ledger.attempted)
    return [
        f"{name} has {streams[name]} events, {count} were asked for"
        for name, count in asked.items()
        if streams[name] > count
    ]


def _stream_of(kind: str, key: str) -> str:
    if kind == "redefined":
        return f"meter-{key.partition('/')[0]}"
    return f"{_CATEGORIES[kind][0]}-{key}"
