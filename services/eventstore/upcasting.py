"""Upcasting: what an event that was stored in an old form means in the forms of today, worked out each time it is read.

An upcaster is a pure function from one stored form to one form or several. Upcasters are chained until every form is a
current one. What they make is never written back: the log keeps the bytes, and the leaf, of the day.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Form: TypeAlias = tuple[str, int]
"""An event type and its schema version, such as ("MeterCreated", 1)."""

UPCASTS_MAX = 50
"""Steps from the oldest form to the newest; a chain that is longer goes in circles."""


@dataclass(frozen=True, slots=True)
class StoredForm:
    """An event's type, schema version and payload, without its place in the log."""

    type: str
    schema_version: int
    payload: bytes

    @property
    def form(self) -> Form:
        """Type and version together."""
        return self.type, self.schema_version


Upcaster: TypeAlias = Callable[[StoredForm], Sequence[StoredForm]]
"""Pure: no clock, no lookup, the same forms for the same bytes. It gives at least one form."""


@dataclass(frozen=True, slots=True)
class Upcast:
    """One step: `upcaster`, and the forms that it may give, so that the table can be checked without any event."""

    to: tuple[Form, ...]
    upcaster: Upcaster


def upcast(stored: StoredForm, upcasts: Mapping[Form, Upcast]) -> Iterator[StoredForm]:
    """The current forms of a stored one, in the order that its upcasters give them; itself when it is current."""
    return _upcast(stored, upcasts, 0)


def _upcast(stored: StoredForm, upcasts: Mapping[Form, Upcast], steps: int) -> Iterator[StoredForm]:
    step = upcasts.get(stored.form)
    if step is None:
        yield stored
        return
    assert steps < UPCASTS_MAX, f"the upcasters of {stored.form} go in circles"
    made = step.upcaster(stored)
    assert made, f"the upcaster of {stored.form} loses the event; let it give one form or several"
    for each in made:
        assert each.form in step.to, f"the upcaster of {stored.form} gives {each.form}, which its step does not name"
        yield from _upcast(each, upcasts, steps + 1)


def problems(current: Collection[Form], upcasts: Mapping[Form, Upcast]) -> list[str]:
    """What is wrong with a table of upcasts: every chain ends in current forms, and no version was left behind."""
    found = [f"{form} is both current and old" for form in upcasts if form in current]
    found += [f"{form} leads to nothing" for form, step in upcasts.items() if not step.to]
    found += [
        f"{form} leads to {target}, which is neither current nor upcast"
        for form, step in upcasts.items()
        for target in step.to
        if target not in current and target not in upcasts
    ]
    found += [f"{form} leads back to itself" for form in upcasts if _leads_back(form, upcasts)]
    return found + _gaps({*current, *upcasts}) + _rivals(current)


def _leads_back(start: Form, upcasts: Mapping[Form, Upcast]) -> bool:
    seen: set[Form] = set()
    waiting = list(upcasts[start].to)
    while waiting:
        form = waiting.pop()
        if form == start:
            return True
        if form not in seen and form in upcasts:
            seen.add(form)
            waiting.extend(upcasts[form].to)
    return False


def _gaps(known: Collection[Form]) -> list[str]:
    """Every version from 1 to the newest of a type is known, for all of them may stand in a log."""
    newest: dict[str, int] = {}
    for name, version in known:
        newest[name] = max(version, newest.get(name, 0))
    return [
        f"{(name, version)} is missing"
        for name, last in newest.items()
        for version in range(1, last + 1)
        if (name, version) not in known
    ]


def _rivals(current: Collection[Form]) -> list[str]:
    """A type has one current version: the one that is written."""
    names = [name for name, _ in current]
    return [f"{name} has {names.count(name)} current versions" for name in set(names) if names.count(name) > 1]
