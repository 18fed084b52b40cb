"""The stored event types: the form that is written of each, and how older forms are read, on one screen.

A type is never reinterpreted. A new meaning is a new type, or a new version with an upcaster that reads the old one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from google.protobuf.message import DecodeError, Message

from meterlog.events.v1 import (
    catalogue_pb2,
    correction_pb2,
    invoice_pb2,
    log_pb2,
    meter_pb2,
    projection_pb2,
    usage_pb2,
    webhook_pb2,
)
from services.eventstore.event import NewEvent, RecordedEvent, StreamName
from services.eventstore.upcasting import Form, StoredForm, Upcast, upcast
from services.kernel.errors import Corrupt
from services.kernel.ids import derived_uuid

MESSAGES: dict[Form, type[Message]] = {
    ("LogCreated", 1): log_pb2.LogCreated,
    ("ClockAdvanced", 1): log_pb2.ClockAdvanced,
    ("UsageRecorded", 1): usage_pb2.UsageRecorded,
    ("MeterCreated", 1): meter_pb2.MeterCreated,
    ("MeterUpdated", 1): meter_pb2.MeterUpdated,
    ("MeterRedefined", 1): meter_pb2.MeterRedefined,
    ("MeterArchived", 1): meter_pb2.MeterArchived,
    ("UsagePeriodClosed", 1): meter_pb2.UsagePeriodClosed,
    ("UsagePeriodRestated", 1): meter_pb2.UsagePeriodRestated,
    ("UsageCancelled", 1): correction_pb2.UsageCancelled,
    ("UsageAmended", 1): correction_pb2.UsageAmended,
    ("CorrectionReverted", 1): correction_pb2.CorrectionReverted,
    ("BackfillOpened", 1): correction_pb2.BackfillOpened,
    ("BackfillClosed", 1): correction_pb2.BackfillClosed,
    ("BackfillReverted", 1): correction_pb2.BackfillReverted,
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
    ("ProjectionEventSkipped", 1): projection_pb2.ProjectionEventSkipped,
}
"""The current form of each type: what is written, and what every reader gets."""

UPCASTS: dict[Form, Upcast] = {}
"""The forms that are written no more, each with its step towards the current ones. No form was given up yet."""


class UnknownEventType(Corrupt):
    """The log holds an event that this release does not know; a newer release wrote it."""

    default_reason = "UNKNOWN_EVENT_TYPE"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Current messages, and the steps that lead to them from older forms. Tables are read at every use."""

    messages: Mapping[Form, type[Message]]
    upcasts: Mapping[Form, Upcast]

    def is_known(self, recorded: RecordedEvent) -> bool:
        """Whether this release can read events of that type and version."""
        return self.knows(recorded.type, recorded.schema_version)

    def knows(self, name: str, schema_version: int) -> bool:
        """Whether this release can read that type and version."""
        return (name, schema_version) in self.messages or (name, schema_version) in self.upcasts

    def current(self, recorded: RecordedEvent) -> Iterator[RecordedEvent]:
        """The event in its current form, at its place in the log; several where an old form means several.

        Raises UnknownEventType, and Corrupt when the bytes of an old form do not parse.
        """
        form = (recorded.type, recorded.schema_version)
        if form in self.messages:
            yield recorded
            return
        if form not in self.upcasts:
            raise UnknownEventType(
                f"position {recorded.position} holds {recorded.type} version {recorded.schema_version}, "
                "which this release does not know; upgrade it",
                metadata={"position": str(recorded.position), "type": recorded.type},
            )
        try:
            made = list(upcast(StoredForm(*form, recorded.payload), self.upcasts))
        except DecodeError as error:
            raise _unparsed(recorded) from error
        for each in made:
            yield replace(recorded, type=each.type, schema_version=each.schema_version, payload=each.payload)

    def messages_of(self, recorded: RecordedEvent) -> Iterator[Message]:
        """The messages that a recorded event means; raises as `current` does."""
        for event in self.current(recorded):
            try:
                yield self.messages[event.type, event.schema_version].FromString(event.payload)
            except DecodeError as error:
                raise _unparsed(recorded) from error

    def form_of(self, message: Message) -> Form:
        """The type and version that a message is written as."""
        for form, message_type in self.messages.items():
            if message_type is type(message):
                return form
        raise AssertionError(f"{type(message).__name__} is not in the catalogue of stored events")


CATALOGUE = Catalogue(MESSAGES, UPCASTS)


def encode(message: Message, stream: StreamName, version: int, at: datetime) -> NewEvent:
    """The stored form of `message` as event `version` of `stream`; the same arguments give the same event id."""
    name, schema_version = CATALOGUE.form_of(message)
    payload = message.SerializeToString(deterministic=True)
    return NewEvent(derived_uuid(at, str(stream), str(version), name, payload), name, schema_version, payload)


def decode(recorded: RecordedEvent) -> Message:
    """The message of a recorded event that means exactly one.

    Raises UnknownEventType, and Corrupt when the bytes do not parse or mean several: then read `decode_all`.
    """
    messages = list(CATALOGUE.messages_of(recorded))
    if len(messages) != 1:
        raise Corrupt(
            f"position {recorded.position} ({recorded.type} version {recorded.schema_version}) means "
            f"{len(messages)} events, and its reader expects one; upgrade this release"
        )
    return messages[0]


def decode_all(recorded: RecordedEvent) -> tuple[Message, ...]:
    """The messages of a recorded event in order: one, or several where an old form was split since."""
    return tuple(CATALOGUE.messages_of(recorded))


def _unparsed(recorded: RecordedEvent) -> Corrupt:
    return Corrupt(f"position {recorded.position} ({recorded.type}) does not parse; verify the audit chain")
