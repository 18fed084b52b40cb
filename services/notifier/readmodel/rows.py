"""What the events of one batch change in the tables: rows to insert, and values to update, each in log order."""

from dataclasses import dataclass, field

from meterlog.events.v1.webhook_pb2 import (
    WebhookDeliveryAttempted,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookMessageCreated,
)
from services.eventstore.catalogue import decode
from services.eventstore.event import Position, RecordedEvent
from services.notifier.delivery import DeliveryState
from services.notifier.endpoint import EndpointState
from services.projection.row import Row, timestamp_us, unexpected_event


@dataclass(slots=True)
class WebhookRows:
    """Rows by what becomes of them. Keys of updates begin with "of_", so that they differ from the columns' names."""

    endpoints: list[Row] = field(default_factory=list)
    ended: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    attempted: list[Row] = field(default_factory=list)

    def add(self, recorded: RecordedEvent) -> None:
        """Sort one event in."""
        message = decode(recorded)
        match message:
            case WebhookEndpointCreated():
                self.endpoints.append(_endpoint(message, recorded.position))
            case WebhookEndpointDeleted():
                self.ended.append(_ended(message.key, EndpointState.DELETED, recorded.position))
            case WebhookEndpointDisabled():
                self.ended.append(_ended(message.key, EndpointState.DISABLED, recorded.position))
            case WebhookMessageCreated():
                self.messages.append(_message(message, recorded.position))
                self.deliveries.extend(_deliveries(message, recorded.position))
            case WebhookDeliveryAttempted():
                self.attempts.append(_attempt(message))
                self.attempted.append(_attempted(message))
            case _:
                raise unexpected_event(recorded, message)


def _endpoint(created: WebhookEndpointCreated, position: Position) -> Row:
    return {
        "key": created.key,
        "url": created.url,
        "message_types": " ".join(created.message_types),
        "description": created.description,
        "mode": created.mode,
        "secret_salt": created.secret_salt,
        "secret_fingerprint": created.secret_fingerprint,
        "state": EndpointState.ENABLED.value,
        "created_at_us": timestamp_us(created.created_at),
        "created_position": position,
        "ended_position": None,
    }


def _ended(key: str, state: EndpointState, position: Position) -> Row:
    return {"of_key": key, "to_state": state.value, "at_position": position}


def _message(created: WebhookMessageCreated, position: Position) -> Row:
    return {
        "id": created.id,
        "type": created.type,
        "body": created.body,
        "occurred_at_us": timestamp_us(created.occurred_at),
        "source_position": created.source_position,
        "position": position,
    }


def _deliveries(created: WebhookMessageCreated, position: Position) -> list[Row]:
    """One a receiver, due since the fact."""
    return [
        {
            "message": created.id,
            "endpoint": endpoint,
            "message_type": created.type,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "next_attempt_at_us": timestamp_us(created.occurred_at),
            "position": position,
        }
        for endpoint in created.endpoints
    ]


def _attempt(attempted: WebhookDeliveryAttempted) -> Row:
    return {
        "message": attempted.message_id,
        "endpoint": attempted.endpoint,
        "number": attempted.attempt,
        "attempted_at_us": timestamp_us(attempted.attempted_at),
        "status": attempted.status,
        "error": attempted.error,
        "duration_ms": attempted.duration_ms,
        "response_excerpt": attempted.response_excerpt,
    }


def _attempted(attempted: WebhookDeliveryAttempted) -> Row:
    is_due_again = attempted.HasField("next_attempt_at")
    return {
        "of_message": attempted.message_id,
        "of_endpoint": attempted.endpoint,
        "state": attempted.delivery_state,
        "attempts": attempted.attempt,
        "next_attempt_at_us": timestamp_us(attempted.next_attempt_at) if is_due_again else None,
    }
