"""The rules of a webhook endpoint: created once, then enabled until it is deleted or its receiver is gone.

Stream: endpoint-<key>. A key is never used twice, so a message can tell for ever whom it went to.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from meterlog.events.v1.webhook_pb2 import WebhookEndpointCreated, WebhookEndpointDeleted, WebhookEndpointDisabled
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.notifier.signature import Seal

CATEGORY = "endpoint"
REASON_GONE = "gone"


class EndpointMode(StrEnum):
    """Whether messages go out."""

    LIVE = "live"
    DRY_RUN = "dry_run"


class EndpointState(StrEnum):
    """Where an endpoint stands; only an enabled one gets messages."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class EndpointContent:
    """What its owner decides. No message types means all of them."""

    url: str
    message_types: tuple[str, ...]
    description: str
    mode: EndpointMode


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of webhooks."""

    key: str
    content: EndpointContent
    seal: Seal
    state: EndpointState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    """Create an endpoint; a repeat with equal content does nothing, and keeps the secret of the first time."""

    key: str
    content: EndpointContent
    seal: Seal
    at: datetime


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    """Delete an endpoint for good; a repeat does nothing."""

    key: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """Send nothing more to an endpoint, for the reason given; does nothing when it is disabled or deleted already."""

    key: str
    reason: str
    at: datetime


EndpointCommand: TypeAlias = CreateEndpoint | DeleteEndpoint | DisableEndpoint
EndpointEvent: TypeAlias = WebhookEndpointCreated | WebhookEndpointDeleted | WebhookEndpointDisabled
EndpointOrNone: TypeAlias = Endpoint | None


def endpoint_stream(key: str) -> StreamName:
    """The stream of the endpoint with this key."""
    return StreamName(CATEGORY, key)


def no_endpoint(key: str) -> NotFound:
    """The refusal of a key that no endpoint has."""
    return NotFound(f'no webhook endpoint "{key}"; create it or check the key', reason="ENDPOINT_NOT_FOUND")


def decide(command: EndpointCommand, state: EndpointOrNone) -> list[EndpointEvent]:
    """The events of a command; raises AlreadyExists or NotFound."""
    match command:
        case CreateEndpoint():
            return _create(command, state)
        case DeleteEndpoint():
            return _delete(command, state)
        case DisableEndpoint():
            return _disable(command, state)


def evolve(state: EndpointOrNone, event: EndpointEvent) -> EndpointOrNone:
    """The endpoint after an event."""
    if isinstance(event, WebhookEndpointCreated):
        return endpoint_of(event)
    assert state is not None
    is_deleted = isinstance(event, WebhookEndpointDeleted)
    return replace(state, state=EndpointState.DELETED if is_deleted else EndpointState.DISABLED)


endpoint: Decider[EndpointCommand, EndpointOrNone, EndpointEvent] = Decider(None, decide, evolve)


def endpoint_of(event: WebhookEndpointCreated) -> Endpoint:
    """The endpoint as it was created."""
    content = EndpointContent(event.url, tuple(event.message_types), event.description, EndpointMode(event.mode))
    seal = Seal(event.secret_salt, event.secret_fingerprint)
    return Endpoint(event.key, content, seal, EndpointState.ENABLED, from_timestamp(event.created_at))


def _create(command: CreateEndpoint, state: EndpointOrNone) -> list[EndpointEvent]:
    if state is None:
        return [_created(command)]
    if state.state is EndpointState.DELETED:
        raise AlreadyExists(
            f'webhook endpoint "{command.key}" was deleted, and a key is never used twice; choose another',
            reason="ENDPOINT_WAS_DELETED",
        )
    if not _is_equal(state.content, command.content):
        raise AlreadyExists(
            f'webhook endpoint "{command.key}" exists with other content; choose another key', reason="ENDPOINT_EXISTS"
        )
    return []


def _is_equal(left: EndpointContent, right: EndpointContent) -> bool:
    """Message types are a set; their order says nothing."""
    ordered = tuple(sorted(left.message_types))
    return replace(left, message_types=ordered) == replace(right, message_types=tuple(sorted(right.message_types)))


def _delete(command: DeleteEndpoint, state: EndpointOrNone) -> list[EndpointEvent]:
    if state is None:
        raise no_endpoint(command.key)
    if state.state is EndpointState.DELETED:
        return []
    return [WebhookEndpointDeleted(key=state.key, deleted_at=to_timestamp(command.at))]


def _disable(command: DisableEndpoint, state: EndpointOrNone) -> list[EndpointEvent]:
    if state is None:
        raise no_endpoint(command.key)
    if state.state is not EndpointState.ENABLED:
        return []
    return [WebhookEndpointDisabled(key=state.key, reason=command.reason, disabled_at=to_timestamp(command.at))]


def _created(command: CreateEndpoint) -> WebhookEndpointCreated:
    content = command.content
    return WebhookEndpointCreated(
        key=command.key,
        url=content.url,
        message_types=content.message_types,
        description=content.description,
        mode=content.mode,
        secret_salt=command.seal.salt,
        secret_fingerprint=command.seal.fingerprint,
        created_at=to_timestamp(command.at),
    )
