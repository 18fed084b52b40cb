"""The stored event types: name and version to protobuf message, on one screen.

A type is never reinterpreted. A new meaning is a new type, or a new version with an upcaster that reads the old one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from meterlog.events.v1 import catalogue_pb2, invoice_pb2, log_pb2, meter_pb2, usage_pb2, webhook_pb2
from services.eventstore.event import NewEvent, RecordedEvent, StreamName
from services.kernel.errors import Corrupt
from services.kernel.ids import derived_uuid

M = TypeVar("M", bound=Message)

SCHEMA_VERSION = 1

MESSAGES: dict[tuple[str, int], type[Message]] = {
    ("LogCreated", 1): log_pb2.LogCreated,
    ("ClockAdvanced", 1): log_pb2.ClockAdvanced,
    ("UsageRecorded", 1): usage_pb2.UsageRecorded,
    ("MeterCreated", 1): meter_pb2.MeterCreated,
    ("MeterUpdated", 1): meter_pb2.MeterUpdated,
    ("MeterArchived", 1): meter_pb2.MeterArchived,
    ("UsagePeriodClosed", 1): meter_pb2.UsagePeriodClosed,
    ("CustomerCreated", 1): catalogue_pb2.CustomerCreated,
    ("CustomerUpdated", 1): catalogue_pb2.CustomerUpdated,
    ("PlanVersionPublished", 1): catalogue_pb2.PlanVersionPublished,
    ("SubscriptionStarted", 1): catalogue_pb2.SubscriptionStarted,
    ("SubscriptionCancelled", 1): catalogue_pb2.SubscriptionCancelled,
    ("InvoiceDrafted", 1): invoice_pb2.InvoiceDrafted,
    ("InvoiceNumberAssigned", 1): invoice_pb2.InvoiceNumberAssigned,
    ("InvoiceFinalized", 1): invoice_pb2.InvoiceFinalized,
    ("WebhookEndpointCreated", 1): webhook_pb2.WebhookEndpointCreated,
    ("WebhookEndpointDeleted", 1): webhook_pb2.WebhookEndpointDeleted,
    ("WebhookEndpointDisabled", 1): webhook_pb2.WebhookEndpointDisabled,
    ("WebhookMessageCreated", 1): webhook_pb2.WebhookMessageCreated,
    ("WebhookDeliveryAttempted", 1): webhook_pb2.WebhookDeliveryAttempted,
}


class UnknownEventType(Corrupt):
    """The log holds an event that this release does not know; a newer release wrote it."""

    default_reason = "UNKNOWN_EVENT_TYPE"


@dataclass(frozen=True, slots=True)
class Decoded:
    """An event of the log together with its message."""

    recorded: RecordedEvent
    message: Message


def encode(message: Message, stream: StreamName, version: int, at: datetime) -> NewEvent:
    """The stored form of `message` as event `version` of `stream`; the same arguments give the same event id."""
    name = type(message).__name__
    if (name, SCHEMA_VERSION) not in MESSAGES:
        raise AssertionError(f"{name} is not in the catalogue of stored events")
    payload = message.SerializeToString(deterministic=True)
    return NewEvent(derived_uuid(at, str(stream), str(version), name, payload), name, SCHEMA_VERSION, payload)


def decode(recorded: RecordedEvent) -> Message:
    """The message of a recorded event; raises UnknownEventType, or Corrupt when the bytes do not parse."""
    message_type = MESSAGES.get((recorded.type, recorded.schema_version))
    if message_type is None:
        raise UnknownEventType(
            f"position {recorded.position} holds {recorded.type} version {recorded.schema_version}, "
            "which this release does not know; upgrade it"
        )
    try:
        return message_type.FromString(recorded.payload)
    except DecodeError as error:
        raise Corrupt(
            f"position {recorded.position} ({recorded.type}) does not parse; verify the audit chain"
        ) from error
