"""What would change: declared items against what the services hold, field by field."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import Message

from meterlog.client.condition import condition_of, condition_text
from services.cli.declared.catalogue import Item
from services.cli.declared.shape import Field, FieldKind, Shape
from services.cli.instants import timestamp_text
from services.kernel.quantity import decimal_text, is_decimal_text, parse_decimal


class Action(StrEnum):
    """What applying an item means."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs; an empty text stands for a field that is not there."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one item; `reason` says why a refused one cannot be."""

    item: Item
    action: Action
    changes: tuple[Change, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """Which fields of a kind can change (None: all of them), and what to do instead about the others."""

    changeable: frozenset[str] | None
    advice: str


def step_for(item: Item, current: Message | None, rule: ChangeRule) -> Step:
    """Create what is not there, update what may change, refuse what never changes."""
    shape = item.section.shape
    if current is None:
        return Step(item, Action.CREATE, differences(shape, shape.message(), item.message))
    changes = differences(shape, current, item.message)
    if not changes:
        return Step(item, Action.UNCHANGED)
    fixed = [change.field for change in changes if not _may_change(change, rule)]
    if fixed:
        return Step(item, Action.REFUSED, changes, f"{', '.join(fixed)} cannot change; {rule.advice}")
    return Step(item, Action.UPDATE, changes)


def differences(shape: Shape, old: Message, new: Message) -> tuple[Change, ...]:
    """The fields whose meaning differs, in the order of the shape; an absent field means its default."""
    before, after = dict(_flat(shape, old, "")), dict(_flat(shape, new, ""))
    kept = {field.name for field in shape.fields if field.keeps_when_absent} - after.keys()
    names = [*after, *(name for name in before if name not in after and name not in kept)]
    return tuple(
        Change(name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name, "") != after.get(name, "")
    )


def _may_change(change: Change, rule: ChangeRule) -> bool:
    top = change.field.partition(".")[0].partition("[")[0]
    return rule.changeable is None or top in rule.changeable


def _flat(shape: Shape, message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field in shape.fields:
        name = prefix + field.name
        if not field.is_compared:
            continue
        match field.kind:
            case FieldKind.PART:
                assert field.shape is not None
                if message.HasField(field.name):
                    yield from _flat(field.shape, getattr(message, field.name), f"{name}.")
            case FieldKind.PARTS:
                assert field.shape is not None
                for index, part in enumerate(getattr(message, field.name)):
                    yield from _flat(field.shape, part, f"{name}[{index}].")
            case _:
                if text := _text(field, message):
                    yield name, text


def _text(field: Field, message: Message) -> str:
    return _written(field, message) or field.default or (getattr(message, field.default_from, ""))


def _written(field: Field, message: Message) -> str:
    value = getattr(message, field.name)
    match field.kind:
        case FieldKind.TEXTS:
            return ", ".join(sorted(value))
        case FieldKind.CONDITIONS:
            return "; ".join(sorted(condition_text(condition_of(each)) for each in value))
        case FieldKind.DECIMAL:
            return decimal_text(parse_decimal(value)) if is_decimal_text(value) else str(value)
        case FieldKind.INTEGER:
            return str(value) if value else ""
        case FieldKind.INSTANT:
            return timestamp_text(value) if message.HasField(field.name) else ""
        case FieldKind.CHOICE:
            return next((name for name, number in field.choices.items() if number == value), "")
        case _:
            return str(value)
