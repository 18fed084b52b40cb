"""The gRPC face of the notifier: translate, call, translate."""

import os
from datetime import datetime

import grpc
import structlog

from meterlog.notifier.v1 import notifier_pb2 as api
from meterlog.notifier.v1 import notifier_pb2_grpc
from services.eventstore.decider import Outcome, handle
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import RuleViolated, TimedOut
from services.kernel.ids import new_uuid, require_key
from services.notifier.conversion import (
    delivery_filter,
    endpoint_content,
    require_message_type,
    to_api_delivery,
    to_api_endpoint,
    to_api_message,
)
from services.notifier.endpoint import (
    CreateEndpoint,
    DeleteEndpoint,
    Endpoint,
    EndpointCommand,
    EndpointEvent,
    EndpointOrNone,
    endpoint,
    endpoint_stream,
    no_endpoint,
)
from services.notifier.keyring import Keyring
from services.notifier.page import number_and_text_place, number_place, page_of, text_place
from services.notifier.readmodel.deliveries import list_deliveries
from services.notifier.readmodel.endpoints import count_endpoints, find_endpoint, list_endpoints
from services.notifier.readmodel.messages import list_messages
from services.notifier.readmodel.tables import WebhookTables
from services.notifier.signature import SALT_BYTES
from services.projection.runner import ProjectionRunner
from services.rpc.deadline import time_left_s
from services.rpc.pages import page_size

NOTIFIER_SERVICE = "meterlog.notifier.v1.NotifierService"
ENDPOINTS_MAX = 1_000
FOLD_TIMEOUT_S = 10.0

log = structlog.get_logger()


class NotifierFace(notifier_pb2_grpc.NotifierServiceServicer):
    """Endpoints, messages and the delivery log."""

    def __init__(
        self,
        store: EventStore,
        clock: Clock,
        runner: ProjectionRunner[WebhookTables],
        keyring: Keyring,
        *,
        allows_http: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._runner = runner
        self._keyring = keyring
        self._allows_http = allows_http

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        notifier_pb2_grpc.add_NotifierServiceServicer_to_server(self, server)

    def CreateEndpoint(
        self, request: api.CreateEndpointRequest, context: grpc.ServicerContext
    ) -> api.CreateEndpointResponse:
        """Create an endpoint; its secret is in this answer and in no other."""
        now = self._clock.now()
        key = require_key(request.endpoint.key or str(new_uuid(now)), "endpoint.key")
        content = endpoint_content(request.endpoint, allows_http=self._allows_http)
        self._require_room(key)
        secret, seal = self._keyring.create(key, os.urandom(SALT_BYTES))
        outcome = self._handle(key, CreateEndpoint(key, content, seal, now), now, context)
        assert outcome.state is not None
        return api.CreateEndpointResponse(
            endpoint=self._shown(outcome.state), secret=secret.text if outcome.events else ""
        )

    def GetEndpoint(self, request: api.GetEndpointRequest, context: grpc.ServicerContext) -> api.GetEndpointResponse:
        """One endpoint."""
        key = require_key(request.key, "key")
        with self._runner.read() as (connection, tables):
            found = find_endpoint(connection, tables, key)
        if found is None:
            raise no_endpoint(key)
        return api.GetEndpointResponse(endpoint=self._shown(found))

    def ListEndpoints(
        self, request: api.ListEndpointsRequest, context: grpc.ServicerContext
    ) -> api.ListEndpointsResponse:
        """Endpoints by key."""
        size, after = page_size(request.page_size), text_place(request.page_token)
        with self._runner.read() as (connection, tables):
            records = list_endpoints(connection, tables, after, size + 1)
            page = page_of(records, size, self._shown, lambda record: (record.key,))
        return api.ListEndpointsResponse(endpoints=page.items, next_page_token=page.next_page_token)

    def DeleteEndpoint(
        self, request: api.DeleteEndpointRequest, context: grpc.ServicerContext
    ) -> api.DeleteEndpointResponse:
        """Delete an endpoint, and cancel what is due to it."""
        now = self._clock.now()
        key = require_key(request.key, "key")
        self._handle(key, DeleteEndpoint(key, now), now, context)
        return api.DeleteEndpointResponse()

    def ListMessages(self, request: api.ListMessagesRequest, context: grpc.ServicerContext) -> api.ListMessagesResponse:
        """Messages, newest first."""
        size, place = page_size(request.page_size), number_place(request.page_token)
        if request.type:
            require_message_type(request.type, "type")
        before = None if place is None else Position(place)
        with self._runner.read() as (connection, tables):
            records = list_messages(connection, tables, message_type=request.type, before=before, limit=size + 1)
            page = page_of(records, size, to_api_message, lambda record: (record.position,))
        return api.ListMessagesResponse(messages=page.items, next_page_token=page.next_page_token)

    def ListDeliveries(
        self, request: api.ListDeliveriesRequest, context: grpc.ServicerContext
    ) -> api.ListDeliveriesResponse:
        """The delivery log, newest first."""
        size, before = page_size(request.page_size), number_and_text_place(request.page_token)
        shown = delivery_filter(request)
        with self._runner.read() as (connection, tables):
            records = list_deliveries(connection, tables, shown, before, size + 1)
        page = page_of(records, size, to_api_delivery, lambda record: record.place)
        return api.ListDeliveriesResponse(deliveries=page.items, next_page_token=page.next_page_token)

    def _handle(
        self, key: str, command: EndpointCommand, now: datetime, context: grpc.ServicerContext
    ) -> Outcome[EndpointOrNone, EndpointEvent]:
        """Decide and append; then wait a while, so that the caller reads what it wrote.

        A slow read model does not fail the call: the secret of a new endpoint would be lost with the answer.
        """
        outcome = handle(self._store, endpoint, endpoint_stream(key), command, now)
        if outcome.appended is not None:
            try:
                self._runner.wait_for(outcome.appended.position, min(FOLD_TIMEOUT_S, time_left_s(context) / 2))
            except TimedOut as error:
                log.warning("answered before the read model was up to date", problem=error.message)
        return outcome

    def _require_room(self, key: str) -> None:
        with self._runner.read() as (connection, tables):
            is_new = find_endpoint(connection, tables, key) is None
            count = count_endpoints(connection, tables)
        if is_new and count >= ENDPOINTS_MAX:
            raise RuleViolated(
                f"there are {count} webhook endpoints, which is the most; delete one first", reason="TOO_MANY_ENDPOINTS"
            )

    def _shown(self, found: Endpoint) -> api.Endpoint:
        return to_api_endpoint(found, self._keyring.problem(found.key, found.seal))
