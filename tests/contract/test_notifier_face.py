"""What a caller of the notifier sees: endpoints with a secret shown once, messages, and the delivery log in pages."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from meterlog.notifier.v1 import notifier_pb2 as api
from meterlog.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from services.notifier import face as face_module
from services.notifier import page
from services.notifier.face import NOTIFIER_SERVICE, NotifierFace
from services.notifier.keyring import Keyring
from services.rpc.channel import open_channel
from services.rpc.common_settings import common_settings
from services.rpc.health import Health
from services.rpc.server import call_interceptor, open_server
from services.rpc.settings import Settings
from tests.databases import DATABASES
from tests.webhook_bench import WAIT_S, Bench, eventually
from tests.webhook_receiver import Receiver


class Served:
    """The face of a bench on a free port of loopback, its event loop in a thread."""

    def __init__(self, bench: Bench) -> None:
        self._face = NotifierFace(bench.store, bench.clock, bench.runner, bench.keyring, allows_http=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(daemon=True, target=self._loop.run_forever)
        self._thread.start()
        self._server, port = self._run(self._open())
        self.channel = open_channel(f"127.0.0.1:{port}")
        self.stub = NotifierServiceStub(self.channel)

    async def _open(self) -> tuple[grpc.aio.Server, int]:
        settings = Settings(common_settings("notifier"), {"METERLOG_LISTEN": "127.0.0.1:0"})
        faces = [(NOTIFIER_SERVICE, self._face.register)]
        server = await open_server(settings, faces, Health((NOTIFIER_SERVICE,)), call_interceptor(settings))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_S)

    def close(self) -> None:
        self.channel.close()
        self._run(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, database=request.param).start()
    yield made
    made.close()


@pytest.fixture
def stub(bench: Bench) -> Iterator[NotifierServiceStub]:
    served = Served(bench)
    yield served.stub
    served.close()


def create(stub: NotifierServiceStub, **fields: Any) -> api.CreateEndpointResponse:
    endpoint = api.Endpoint(**{"key": "books", "url": "https://example.com/hooks", **fields})
    return stub.CreateEndpoint(api.CreateEndpointRequest(endpoint=endpoint), timeout=WAIT_S)


def refusal(call: Callable[[], object]) -> tuple[str, str, str]:
    """Status code, reason and field of a refused call."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    status = Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
    info, bad = ErrorInfo(), BadRequest()
    status.details[0].Unpack(info)
    if len(status.details) > 1:
        status.details[1].Unpack(bad)
    return refused.value.code().name, info.reason, "".join(violation.field for violation in bad.field_violations)


def test_a_secret_is_shown_once_and_verifies_what_arrives(
    bench: Bench, stub: NotifierServiceStub, receiver: Receiver
) -> None:
    created = create(stub, url=receiver.url(), message_types=["invoice.finalized"], description="Books")
    again = create(stub, url=receiver.url(), message_types=["invoice.finalized"], description="Books")
    assert created.secret.startswith("whsec_")
    assert again.secret == ""
    assert again.endpoint == created.endpoint
    assert created.endpoint.state == api.ENDPOINT_STATE_ENABLED
    assert created.endpoint.mode == api.ENDPOINT_MODE_LIVE
    bench.finalize(1)
    eventually(lambda: receiver.arrivals)
    assert receiver.arrivals[0].verified(created.secret)


def test_a_caller_reads_what_it_wrote(stub: NotifierServiceStub) -> None:
    created = create(stub).endpoint
    assert stub.GetEndpoint(api.GetEndpointRequest(key="books"), timeout=WAIT_S).endpoint == created
    stub.DeleteEndpoint(api.DeleteEndpointRequest(key="books"), timeout=WAIT_S)
    stub.DeleteEndpoint(api.DeleteEndpointRequest(key="books"), timeout=WAIT_S)
    assert refusal(lambda: stub.GetEndpoint(api.GetEndpointRequest(key="books")))[0] == "NOT_FOUND"
    assert list(stub.ListEndpoints(api.ListEndpointsRequest(), timeout=WAIT_S).endpoints) == []
    assert refusal(lambda: create(stub))[:2] == ("ALREADY_EXISTS", "ENDPOINT_WAS_DELETED")


def test_an_endpoint_without_a_key_gets_one(stub: NotifierServiceStub) -> None:
    keys = {create(stub, key="").endpoint.key for _ in range(2)}
    assert len(keys) == 2
    assert all(len(key) == 36 for key in keys)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "Books"}, "endpoint.key"),
        ({"key": "a" * 65}, "endpoint.key"),
        ({"url": "example.com"}, "endpoint.url"),
        ({"url": ""}, "endpoint.url"),
        ({"message_types": ["invoice.praised"]}, "endpoint.message_types[0]"),
        ({"message_types": ["invoice.drafted", "invoice.drafted"]}, "endpoint.message_types[1]"),
        ({"description": "x" * 257}, "endpoint.description"),
        ({"description": "two\nlines"}, "endpoint.description"),
        ({"mode": 77}, "endpoint.mode"),
    ],
)
def test_a_bad_endpoint_is_refused_with_the_field(
    stub: NotifierServiceStub, fields: dict[str, Any], field: str
) -> None:
    code, _, violated = refusal(lambda: create(stub, **fields))
    assert (code, violated) == ("INVALID_ARGUMENT", field)


def test_a_key_with_other_content_is_taken(stub: NotifierServiceStub) -> None:
    create(stub)
    assert refusal(lambda: create(stub, description="other"))[:2] == ("ALREADY_EXISTS", "ENDPOINT_EXISTS")


def test_there_is_a_most_of_endpoints(stub: NotifierServiceStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_module, "ENDPOINTS_MAX", 1)
    create(stub)
    create(stub)
    assert refusal(lambda: create(stub, key="more"))[:2] == ("FAILED_PRECONDITION", "TOO_MANY_ENDPOINTS")


def test_an_endpoint_of_another_master_key_says_so(bench: Bench, stub: NotifierServiceStub) -> None:
    own = bench.keyring
    bench.keyring = Keyring(b"another key, of 32 bytes or more")
    bench.create_endpoint("foreign", "https://example.com")
    bench.keyring = own
    create(stub)
    eventually(lambda: len(stub.ListEndpoints(api.ListEndpointsRequest()).endpoints) == 2)
    books, foreign = stub.ListEndpoints(api.ListEndpointsRequest()).endpoints
    assert books.problem == ""
    assert "another master key" in foreign.problem


def test_messages_come_newest_first_in_pages_with_their_exact_bytes(
    bench: Bench, stub: NotifierServiceStub, receiver: Receiver
) -> None:
    create(stub, url=receiver.url())
    for number in range(5):
        bench.finalize(number)
    eventually(lambda: bench.states() == ["delivered"] * 5)
    listed: list[api.Message] = []
    token = ""
    for _ in range(3):
        request = api.ListMessagesRequest(type="invoice.finalized", page_size=2, page_token=token)
        answer = stub.ListMessages(request, timeout=WAIT_S)
        listed += answer.messages
        token = answer.next_page_token
    assert token == ""
    assert [message.id for message in listed] == bench.messages()[::-1]
    bodies = {arrival.message_id: arrival.body for arrival in receiver.arrivals}
    assert {message.id: message.body for message in listed} == bodies
    assert list(stub.ListMessages(api.ListMessagesRequest(type="invoice.drafted")).messages) == []


def test_the_delivery_log_is_filtered_and_paged(bench: Bench, stub: NotifierServiceStub, receiver: Receiver) -> None:
    create(stub, url=receiver.url())
    create(stub, key="broken", url=receiver.url("/broken"))
    receiver.always("/broken", 500, body=b"no")
    for number in range(3):
        bench.finalize(number)
    eventually(lambda: bench.errors("broken") == ["status"] * 3 and bench.states("books") == ["delivered"] * 3)
    one_page = stub.ListDeliveries(api.ListDeliveriesRequest(), timeout=WAIT_S).deliveries
    in_twos: list[api.Delivery] = []
    token = ""
    for _ in range(3):
        answer = stub.ListDeliveries(api.ListDeliveriesRequest(page_size=2, page_token=token), timeout=WAIT_S)
        in_twos += answer.deliveries
        token = answer.next_page_token
    assert in_twos == list(one_page)
    assert (len(one_page), token) == (6, "")
    failing = stub.ListDeliveries(
        api.ListDeliveriesRequest(
            endpoint="broken", state=api.DELIVERY_STATE_PENDING, message_id=one_page[0].message_id
        )
    ).deliveries
    assert len(failing) == 1
    (attempt,) = failing[0].attempts
    assert (attempt.number, attempt.status, attempt.error, attempt.response_excerpt) == (1, 500, "status", b"no")
    assert failing[0].HasField("next_attempt_at")


def test_a_page_ends_before_it_is_too_large_for_a_client(
    bench: Bench, stub: NotifierServiceStub, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PAGE_BYTES_MAX", 1_000)
    create(stub, url=receiver.url())
    for number in range(4):
        bench.finalize(number)
    bench.catch_up()
    eventually(lambda: len(bench.messages()) == 4)
    first = stub.ListMessages(api.ListMessagesRequest(), timeout=WAIT_S)
    second = stub.ListMessages(api.ListMessagesRequest(page_token=first.next_page_token), timeout=WAIT_S)
    assert [len(first.messages), len(second.messages)] == [2, 2]
    assert second.next_page_token == ""


@pytest.mark.parametrize("token", ["x", "WyJhIiwiYiIsImMiXQ==", "WzFlMzBd", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTld"])
def test_a_token_of_another_list_is_refused(stub: NotifierServiceStub, token: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: stub.ListEndpoints(api.ListEndpointsRequest(page_token=token)),
        lambda: stub.ListMessages(api.ListMessagesRequest(page_token=token)),
        lambda: stub.ListDeliveries(api.ListDeliveriesRequest(page_token=token)),
    ]
    assert {refusal(call)[0] for call in calls} == {"INVALID_ARGUMENT"}


def test_a_filter_that_means_nothing_is_refused(stub: NotifierServiceStub) -> None:
    calls: list[Callable[[], object]] = [
        lambda: stub.ListMessages(api.ListMessagesRequest(type="invoice.praised")),
        lambda: stub.ListDeliveries(api.ListDeliveriesRequest(state=77)),
        lambda: stub.ListDeliveries(api.ListDeliveriesRequest(endpoint="Not A Key")),
        lambda: stub.ListDeliveries(api.ListDeliveriesRequest(page_size=-1)),
    ]
    assert [refusal(call)[2] for call in calls] == ["type", "state", "endpoint", "page_size"]
