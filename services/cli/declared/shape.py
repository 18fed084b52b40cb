"""What a declared item may contain: its fields, how each is written in YAML, and what an absent one means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.message import Message


class FieldKind(StrEnum):
    """How a field is written."""

    TEXT = "text"
    TEXTS = "a list of texts"
    DECIMAL = "a quoted decimal"
    INTEGER = "a whole number"
    INSTANT = "an instant"
    CHOICE = "one of its names"
    PART = "keys and values"
    PARTS = "a list"
    CONDITIONS = "a list of conditions"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `default` is what the service takes for an absent one; `default_from` names a sibling with that text.

    `keeps_when_absent` tells that an absent field asks for nothing, so it never differs; `is_compared` is false for one
    that says how to change the item, not what it is.
    """

    name: str
    kind: FieldKind = FieldKind.TEXT
    default: str = ""
    default_from: str = ""
    keeps_when_absent: bool = False
    is_compared: bool = True
    choices: Mapping[str, int] = field(default_factory=dict)
    shape: "Shape | None" = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one message; of the `exactly_one_of` names, one and only one must be written."""

    message: type[Message]
    fields: tuple[Field, ...]
    exactly_one_of: tuple[str, ...] = ()

    def field(self, name: str) -> Field | None:
        """The field of that name, if there is one."""
        return next((known for known in self.fields if known.name == name), None)
