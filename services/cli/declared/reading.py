"""From YAML nodes to messages of the API: every wrong key and value is collected with its path and line.

Values are taken as they are written, never through YAML's own numbers: an unquoted 0.1 would already be a float.
"""

from typing import Final

import yaml
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.client import WrongValue
from meterlog.client.condition import condition_messages
from services.cli.declared.shape import Field, FieldKind, Shape
from services.cli.instants import parse_instant
from services.kernel.errors import FieldViolation, InvalidInput
from services.kernel.quantity import parse_decimal
from services.kernel.timestamp import to_timestamp

Value = str | int | Message | list[str] | list[Message]

INTEGER_MAX: Final = 2**31 - 1

_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = _TAG + "null"
_INTEGER: Final = _TAG + "int"
_FLOAT: Final = _TAG + "float"
_BOOLEAN: Final = _TAG + "bool"


class Reading:
    """Reads nodes into messages and collects what is wrong with them in `problems`."""

    def __init__(self) -> None:
        self.problems: list[FieldViolation] = []

    def message(self, node: yaml.Node, shape: Shape, path: str) -> Message:
        """The message that the node declares; parts that are wrong are left out of it."""
        message = shape.message()
        entries = self.entries(node, path)
        for name, value_node in entries.items():
            field = shape.field(name)
            if field is None:
                known = ", ".join(known.name for known in shape.fields)
                self.add(f"{path}.{name}", value_node, f"is not known here; known are {known}")
            elif value_node.tag != _NULL:
                _set(message, field, self._value(value_node, field, f"{path}.{name}"))
        self._require_exactly_one(entries, node, shape, path)
        return message

    def entries(self, node: yaml.Node, path: str) -> dict[str, yaml.Node]:
        """The keys and values of a mapping; a key that stands twice is a problem."""
        if not isinstance(node, yaml.MappingNode):
            self.add(path, node, "must hold keys and values")
            return {}
        found: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in found:
                self.add(f"{path}.{key}".lstrip("."), key_node, "stands here twice; keep one")
            found[key] = value_node
        return found

    def items(self, node: yaml.Node, path: str) -> list[yaml.Node]:
        """The items of a list; an empty value is an empty list."""
        if node.tag == _NULL:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.add(path, node, "must be a list")
            return []
        return list(node.value)

    def add(self, path: str, node: yaml.Node, description: str) -> None:
        """Note a problem."""
        self.problems.append(FieldViolation(path, f"{description} (line {node.start_mark.line + 1})"))

    def _value(self, node: yaml.Node, field: Field, path: str) -> Value | None:
        match field.kind:
            case FieldKind.PART:
                assert field.shape is not None
                return self.message(node, field.shape, path)
            case FieldKind.PARTS:
                assert field.shape is not None
                nodes = self.items(node, path)
                return [self.message(each, field.shape, f"{path}[{index}]") for index, each in enumerate(nodes)]
            case FieldKind.TEXTS:
                texts = [self._text(each, f"{path}[{index}]") for index, each in enumerate(self.items(node, path))]
                return [text for text in texts if text is not None]
            case FieldKind.CONDITIONS:
                return self._conditions(node, path)
            case _:
                return self._scalar(node, field, path)

    def _conditions(self, node: yaml.Node, path: str) -> list[Message]:
        conditions: list[Message] = []
        for index, each in enumerate(self.items(node, path)):
            text = self._text(each, f"{path}[{index}]")
            try:
                conditions += condition_messages([text] if text is not None else [])
            except WrongValue as error:
                self.add(f"{path}[{index}]", each, f"is wrong: {error}")
        return conditions

    def _scalar(self, node: yaml.Node, field: Field, path: str) -> Value | None:
        text = self._text(node, path)
        if text is None:
            return None
        try:
            return _parsed(text, field, path)
        except InvalidInput as error:
            self.add(path, node, error.message.removeprefix(f"{path} "))
            return None

    def _text(self, node: yaml.Node, path: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.add(path, node, "must be a single value")
            return None
        if node.tag == _FLOAT:
            self.add(path, node, f'is the unquoted number {node.value}, which is not exact; write "{node.value}"')
            return None
        if node.tag == _BOOLEAN:
            self.add(path, node, f"is the unquoted word {node.value}, which YAML takes for a truth value; quote it")
            return None
        if node.tag == _INTEGER and not _is_plain_integer(node.value):
            self.add(path, node, f"is the unquoted number {node.value}; write it as plain digits in quotes")
            return None
        return str(node.value)

    def _require_exactly_one(self, entries: dict[str, yaml.Node], node: yaml.Node, shape: Shape, path: str) -> None:
        written = [name for name in shape.exactly_one_of if name in entries]
        if shape.exactly_one_of and len(written) != 1:
            choices = ", ".join(shape.exactly_one_of)
            found = " and ".join(written) or "none"
            self.add(path, node, f"needs exactly one of {choices}, and has {found}")


def _parsed(text: str, field: Field, path: str) -> Value:
    match field.kind:
        case FieldKind.DECIMAL:
            parse_decimal(text, path)
            return text
        case FieldKind.INTEGER:
            if not (_is_plain_integer(text) and int(text) <= INTEGER_MAX):
                raise InvalidInput(f'{path} is "{text[:60]}"; write a whole number', field=path)
            return int(text)
        case FieldKind.INSTANT:
            return to_timestamp(parse_instant(text, path))
        case FieldKind.CHOICE:
            if text not in field.choices:
                raise InvalidInput(f'{path} is "{text[:60]}"; write one of {", ".join(field.choices)}', field=path)
            return field.choices[text]
        case _:
            return text


def _set(message: Message, field: Field, value: Value | None) -> None:
    match value:
        case None:
            return
        case list():
            getattr(message, field.name).extend(value)
        case Timestamp() | Message():
            getattr(message, field.name).CopyFrom(value)
        case _:
            setattr(message, field.name, value)


def _is_plain_integer(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or not text.startswith("0")) and len(text) <= 26
