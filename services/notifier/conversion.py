"""Between the API of the notifier and its own values."""

import re
from typing import Final

from meterlog.notifier.v1 import notifier_pb2 as api
from services.kernel.errors import InvalidInput
from services.kernel.ids import require_key
from services.kernel.timestamp import to_timestamp
from services.notifier.delivery import DeliveryState
from services.notifier.endpoint import Endpoint, EndpointContent, EndpointMode, EndpointState
from services.notifier.endpoint_url import require_url
from services.notifier.fact import MESSAGE_TYPES
from services.notifier.readmodel.deliveries import AttemptRecord, DeliveryFilter, DeliveryRecord
from services.notifier.readmodel.messages import MessageRecord

DESCRIPTION_LENGTH_MAX = 256

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_MODES: Final = {
    api.ENDPOINT_MODE_UNSPECIFIED: EndpointMode.LIVE,
    api.ENDPOINT_MODE_LIVE: EndpointMode.LIVE,
    api.ENDPOINT_MODE_DRY_RUN: EndpointMode.DRY_RUN,
}
_API_MODES: Final = {
    EndpointMode.LIVE: api.ENDPOINT_MODE_LIVE,
    EndpointMode.DRY_RUN: api.ENDPOINT_MODE_DRY_RUN,
}
_API_ENDPOINT_STATES: Final = {
    EndpointState.ENABLED: api.ENDPOINT_STATE_ENABLED,
    EndpointState.DISABLED: api.ENDPOINT_STATE_DISABLED,
}
_API_DELIVERY_STATES: Final = {
    DeliveryState.PENDING: api.DELIVERY_STATE_PENDING,
    DeliveryState.DELIVERED: api.DELIVERY_STATE_DELIVERED,
    DeliveryState.EXHAUSTED: api.DELIVERY_STATE_EXHAUSTED,
    DeliveryState.CANCELLED: api.DELIVERY_STATE_CANCELLED,
    DeliveryState.DRY_RUN: api.DELIVERY_STATE_DRY_RUN,
}
_DELIVERY_STATES: Final = {shown: state for state, shown in _API_DELIVERY_STATES.items()}


def endpoint_content(endpoint: api.Endpoint, *, allows_http: bool) -> EndpointContent:
    """What the caller decides of an endpoint; raises InvalidInput. What is output only is not looked at."""
    if len(endpoint.description) > DESCRIPTION_LENGTH_MAX or _CONTROL.search(endpoint.description):
        raise InvalidInput(
            f"endpoint.description must be plain text of at most {DESCRIPTION_LENGTH_MAX} characters in one line",
            field="endpoint.description",
        )
    return EndpointContent(
        url=require_url(endpoint.url, "endpoint.url", allows_http=allows_http),
        message_types=_message_types(endpoint),
        description=endpoint.description,
        mode=_mode(endpoint),
    )


def require_message_type(text: str, field: str) -> str:
    """`text`, when it is a message type; raises InvalidInput."""
    if text not in MESSAGE_TYPES:
        known = ", ".join(MESSAGE_TYPES)
        raise InvalidInput(f'{field} is "{text[:60]}"; use one of {known}', field=field, reason="UNKNOWN_MESSAGE_TYPE")
    return text


def delivery_filter(request: api.ListDeliveriesRequest) -> DeliveryFilter:
    """Which deliveries are asked for; raises InvalidInput."""
    if request.endpoint:
        require_key(request.endpoint, "endpoint")
    if request.state and request.state not in _DELIVERY_STATES:
        raise InvalidInput(f"state {request.state} is not known; use a DeliveryState", field="state")
    state = _DELIVERY_STATES[request.state] if request.state else None
    return DeliveryFilter(request.endpoint, state, request.message_id)


def to_api_endpoint(endpoint: Endpoint, problem: str) -> api.Endpoint:
    """An endpoint that is not deleted, as the API shows it; never with its secret."""
    return api.Endpoint(
        key=endpoint.key,
        url=endpoint.content.url,
        message_types=endpoint.content.message_types,
        description=endpoint.content.description,
        mode=_API_MODES[endpoint.content.mode],
        state=_API_ENDPOINT_STATES[endpoint.state],
        created_at=to_timestamp(endpoint.created_at),
        problem=problem,
    )


def to_api_message(record: MessageRecord) -> api.Message:
    """A message as the API shows it."""
    return api.Message(
        id=record.id,
        type=record.type,
        body=record.body,
        source_position=record.source_position,
        occurred_at=to_timestamp(record.occurred_at),
    )


def to_api_delivery(record: DeliveryRecord) -> api.Delivery:
    """A delivery as the API shows it."""
    message_id, endpoint = record.key
    return api.Delivery(
        message_id=message_id,
        message_type=record.message_type,
        endpoint=endpoint,
        state=_API_DELIVERY_STATES[record.state],
        next_attempt_at=None if record.next_attempt_at is None else to_timestamp(record.next_attempt_at),
        attempts=map(_attempt, record.attempts),
    )


def _message_types(endpoint: api.Endpoint) -> tuple[str, ...]:
    types = tuple(endpoint.message_types)
    for index, message_type in enumerate(types):
        field = f"endpoint.message_types[{index}]"
        require_message_type(message_type, field)
        if message_type in types[:index]:
            raise InvalidInput(f'{field} names "{message_type}" again; name each once', field=field)
    return types


def _mode(endpoint: api.Endpoint) -> EndpointMode:
    if endpoint.mode not in _MODES:
        raise InvalidInput(f"endpoint.mode {endpoint.mode} is not known; use an EndpointMode", field="endpoint.mode")
    return _MODES[endpoint.mode]


def _attempt(record: AttemptRecord) -> api.Attempt:
    return api.Attempt(
        number=record.number,
        attempted_at=to_timestamp(record.attempted_at),
        status=record.status,
        error=record.error,
        duration_ms=record.duration_ms,
        response_excerpt=record.response_excerpt,
    )
