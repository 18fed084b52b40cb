"""A declared file as a whole: the items of each kind, in the order in which they can be applied."""

from dataclasses import dataclass
from typing import Final

import yaml
from google.protobuf.message import Message

from services.cli.declared.reading import Reading
from services.cli.declared.shape import Shape
from services.cli.declared.shapes import CUSTOMER, ENDPOINT, METER, PLAN, SUBSCRIPTION
from services.cli.failure import CommandFailed
from services.kernel.errors import FieldViolation

FILE_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Section:
    """One list of the file: its name, what one item is called, the item's shape and the field that names it."""

    name: str
    kind: str
    shape: Shape
    key_field: str = "key"


SECTIONS: Final = (
    Section("meters", "meter", METER, key_field="slug"),
    Section("customers", "customer", CUSTOMER),
    Section("plans", "plan", PLAN),
    Section("subscriptions", "subscription", SUBSCRIPTION),
    Section("endpoints", "endpoint", ENDPOINT),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One declared thing: its kind, its key, where it stands in the file, and its content."""

    section: Section
    key: str
    path: str
    message: Message

    @property
    def kind(self) -> str:
        """What it is called, such as "meter"."""
        return self.section.kind


def read_catalogue(content: str | bytes, name: str) -> tuple[Item, ...]:
    """Every item of the file, section by section; raises CommandFailed that lists all that is wrong with it."""
    if len(content) > FILE_BYTES_MAX:
        raise CommandFailed(f"{name} is larger than {FILE_BYTES_MAX} bytes; split it", reason="FILE_TOO_LARGE")
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CommandFailed(f"{name} is not YAML: {_one_line(error)}", reason="NOT_YAML") from error
    if root is None:
        raise CommandFailed(f"{name} is empty; declare {_section_names()}", reason="FILE_EMPTY")
    reading = Reading()
    items = _items(reading, root)
    _require_unique(items, reading)
    if reading.problems:
        raise _wrong(name, reading.problems)
    return items


def _items(reading: Reading, root: yaml.Node) -> tuple[Item, ...]:
    lists = reading.entries(root, "")
    known = {section.name for section in SECTIONS}
    for name in lists.keys() - known:
        reading.add(name, lists[name], f"is not known here; known are {_section_names()}")
    return tuple(
        _item(reading, section, node, f"{section.name}[{index}]")
        for section in SECTIONS
        if section.name in lists
        for index, node in enumerate(reading.items(lists[section.name], section.name))
    )


def _item(reading: Reading, section: Section, node: yaml.Node, path: str) -> Item:
    message = reading.message(node, section.shape, path)
    key = getattr(message, section.key_field)
    field = f"{path}.{section.key_field}"
    if not key and field not in {problem.field for problem in reading.problems}:
        reading.add(field, node, "is missing; it names the item when the file is applied again")
    return Item(section, key, path, message)


def _require_unique(items: tuple[Item, ...], reading: Reading) -> None:
    first: dict[tuple[str, str], Item] = {}
    for item in items:
        before = first.setdefault((item.kind, item.key), item)
        if before is not item and item.key:
            field = f"{item.path}.{item.section.key_field}"
            reading.problems.append(FieldViolation(field, f'is "{item.key}", which {before.path} is called already'))


def _wrong(name: str, problems: list[FieldViolation]) -> CommandFailed:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return CommandFailed(f"{name} has {count}; nothing was applied", reason="FILE_INVALID", violations=problems)


def _section_names() -> str:
    return ", ".join(section.name for section in SECTIONS)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
