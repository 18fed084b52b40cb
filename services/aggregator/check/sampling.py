"""Chooses what is checked, by a seed: states that are held, and hours of which the log has usage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from sqlalchemy import Connection, func, select

from services.aggregator.check.facts import Facts
from services.aggregator.check.held import state_table
from services.aggregator.check.plain_meter import PlainMeter
from services.aggregator.check.plain_usage import HOUR_US, Wanted, plain_usage
from services.aggregator.tables import UsageTables
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.eventstore.store import EventStore

SUBJECTS_LOOKED_AT = 1_000
SAMPLES_OF_AN_HOUR = 5
"""Neighbours that are chosen together, because reading an hour of the log costs more than counting in it."""


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """All groups of one meter, subject and hour (its first microsecond)."""

    hour_us: int
    meter: str
    subject: str


def sample_held(
    connection: Connection, tables: UsageTables, facts: Facts, random: Random, count: int
) -> Iterator[Sample]:
    """About `count` samples of states that are held, whether or not the log knows of them."""
    meters = [meter for meter in _meters(facts) if meter.keeps_states]
    for _ in range(-(-count // SAMPLES_OF_AN_HOUR) if meters else 0):
        yield from _of_one_hour(connection, tables, random.choice(meters), random)


def sample_recorded(
    store: EventStore, partitions: int, facts: Facts, until: Position, random: Random, count: int
) -> Iterator[tuple[RecordedEvent, Sample]]:
    """About `count` samples of usage that the log has, each with the stored batch that it was seen in.

    They are drawn from the streams themselves, so usage is found that the read model knows nothing of.
    """
    meters, drawn = _meters(facts), 0
    for _ in range(count if meters else 0):
        event = _draw(store, partitions, until, random)
        if event is not None and event.leaf not in facts.skipped:
            for sample in _of_batch(event, meters, random):
                drawn += 1
                yield event, sample
        if drawn >= count:
            return


def _meters(facts: Facts) -> list[PlainMeter]:
    return [facts.meters[slug] for slug in sorted(facts.meters)]


def _of_one_hour(connection: Connection, tables: UsageTables, meter: PlainMeter, random: Random) -> Sequence[Sample]:
    table = state_table(tables, meter)
    bounds = select(func.min(table.c.hour_us), func.max(table.c.hour_us)).where(table.c.meter == meter.slug)
    first, last = connection.execute(bounds).one()
    if first is None:
        return ()
    # From before the first hour on, so that the first is as likely as any other.
    drawn = random.randint(first - HOUR_US + 1, last)
    hour = connection.execute(
        select(func.min(table.c.hour_us)).where(table.c.meter == meter.slug, table.c.hour_us >= drawn)
    ).scalar_one()
    subjects = list(
        connection.execute(
            select(table.c.subject)
            .where(table.c.meter == meter.slug, table.c.hour_us == hour)
            .distinct()
            .order_by(table.c.subject)
            .limit(SUBJECTS_LOOKED_AT)
        ).scalars()
    )
    chosen = random.sample(subjects, min(SAMPLES_OF_AN_HOUR, len(subjects)))
    return [Sample(hour, meter.slug, subject) for subject in chosen]


def _draw(store: EventStore, partitions: int, until: Position, random: Random) -> RecordedEvent | None:
    stream = StreamName("usage", str(random.randrange(partitions)))
    newest = store.read_stream(stream, from_version=-1, limit=1, backwards=True)
    if not newest:
        return None
    (event,) = store.read_stream(stream, from_version=random.randint(0, newest[0].version), limit=1)
    return event if event.position <= until else None


def _of_batch(event: RecordedEvent, meters: Sequence[PlainMeter], random: Random) -> set[Sample]:
    seen = sorted({(each.hour_us, each.type, each.subject) for each in plain_usage(event, Wanted())})
    return {
        Sample(hour, meter.slug, subject)
        for hour, kind, subject in random.sample(seen, min(SAMPLES_OF_AN_HOUR, len(seen)))
        for meter in meters
        if kind in meter.types
    }
