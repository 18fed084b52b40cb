"""An answer of a service as JSON values: names as in the contract, instants and conditions as people write them."""

from collections.abc import Iterable
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.aggregator.v1.aggregator_pb2 import UsageCondition
from meterlog.client.condition import condition_of, condition_text
from services.cli.instants import timestamp_text

_UNSPECIFIED = "UNSPECIFIED"


def message_document(message: Message) -> dict[str, Any]:
    """Every field of the message; null for what is not there. Enum values are their names, in lower case."""
    return {field.name: _field(message, field) for field in cast(Iterable[FieldDescriptor], message.DESCRIPTOR.fields)}


def enum_text(enum: EnumDescriptor, number: int) -> str:
    """The name of an enum's value without the enum's own, in lower case; "" for the unspecified one."""
    prefix = enum.values[0].name.removesuffix(_UNSPECIFIED)
    name = enum.values_by_number[number].name.removeprefix(prefix)
    return "" if name == _UNSPECIFIED else name.lower()


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        return [_value(each, field) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: FieldDescriptor) -> Any:
    match value:
        case Timestamp():
            return timestamp_text(value)
        case UsageCondition():
            return condition_text(condition_of(value))
        case Message():
            return message_document(value)
        case bytes():
            return value.hex()
        case _:
            return value if field.enum_type is None else enum_text(field.enum_type, value)
