"""What the protocol allows and the Python clients never send: the KurrentDB protocol server answers that, too."""

from collections.abc import Iterator
from uuid import uuid4

import grpc
import pytest
from google.protobuf import duration_pb2
from kurrentdbclient import KurrentDBClient, StreamState
from kurrentdbclient.protos.v1 import shared_pb2, streams_pb2, streams_pb2_grpc

from tests.kurrentdb_server import KurrentServer
from tests.kurrentdb_server.clients import connected, new_events

BatchAppendReq = streams_pb2.BatchAppendReq
Options = streams_pb2.ReadReq.Options
WAIT_S = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[KurrentServer]:
    with KurrentServer() as started:
        yield started


@pytest.fixture
def stub(server: KurrentServer) -> Iterator[streams_pb2_grpc.StreamsStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield streams_pb2_grpc.StreamsStub(channel)


@pytest.fixture
def client(server: KurrentServer) -> Iterator[KurrentDBClient]:
    with connected(server.url) as connection:
        assert isinstance(connection, KurrentDBClient)
        yield connection


def part(name: str, *types: str, stream: str = "", is_final: bool = False, deadline_s: int = 10) -> BatchAppendReq:
    """A part of the append `name`; the first one says the stream."""
    request = BatchAppendReq(is_final=is_final, correlation_id=shared_pb2.UUID(string=IDS[name]))
    if stream:
        request.options.stream_identifier.stream_name = stream.encode()
        request.options.no_stream.SetInParent()
        request.options.deadline.CopyFrom(duration_pb2.Duration(seconds=deadline_s))
    for event_type in types:
        message = request.proposed_messages.add(id=shared_pb2.UUID(string=str(uuid4())), data=b"1")
        message.metadata.update({"type": event_type, "content-type": "application/json"})
    return request


IDS = {name: str(uuid4()) for name in ("first", "second")}


def answers(stub: streams_pb2_grpc.StreamsStub, *parts: BatchAppendReq) -> dict[str, streams_pb2.BatchAppendResp]:
    told = stub.BatchAppend(iter(parts), timeout=WAIT_S)
    return {answer.stream_identifier.stream_name.decode(): answer for answer in told}


def test_appends_of_several_parts_may_mix_on_one_call(
    stub: streams_pb2_grpc.StreamsStub, client: KurrentDBClient
) -> None:
    told = answers(
        stub,
        part("first", "a", stream="mixed-1"),
        part("second", "x", stream="mixed-2"),
        part("first", "b"),
        part("second", is_final=True),
        part("first", "c", is_final=True),
    )
    assert {name: answer.success.current_revision for name, answer in told.items()} == {"mixed-1": 2, "mixed-2": 0}
    assert [event.type for event in client.get_stream("mixed-1")] == ["a", "b", "c"]


def test_an_append_that_never_ends_writes_nothing(stub: streams_pb2_grpc.StreamsStub, server: KurrentServer) -> None:
    assert answers(stub, part("first", "a", stream="open-1")) == {}
    assert server.log.stream("open-1").count == 0


def test_an_append_without_time_left_times_out(stub: streams_pb2_grpc.StreamsStub) -> None:
    told = answers(stub, part("first", "a", stream="late-1", is_final=True, deadline_s=0))
    assert told["late-1"].error.message == "Timeout"


def test_an_append_without_a_stream_is_a_bad_request(stub: streams_pb2_grpc.StreamsStub) -> None:
    request = part("first", "a", is_final=True)
    request.options.no_stream.SetInParent()
    (told,) = stub.BatchAppend(iter([request]), timeout=WAIT_S)
    assert told.error.message == "BadRequest"


def test_an_append_of_no_events_only_checks_the_version(
    stub: streams_pb2_grpc.StreamsStub, client: KurrentDBClient
) -> None:
    told = answers(stub, part("first", stream="empty-1", is_final=True))
    assert told["empty-1"].success.WhichOneof("position_option") == "no_position"
    client.append_to_stream("empty-1", events=new_events("a"), current_version=StreamState.NO_STREAM)
    told = answers(stub, part("first", stream="empty-1", is_final=True))
    assert told["empty-1"].error.message == "WrongExpectedVersion"


def read_request(stream: str) -> streams_pb2.ReadReq:
    request = streams_pb2.ReadReq()
    request.options.stream.stream_identifier.stream_name = stream.encode()
    request.options.stream.start.SetInParent()
    request.options.count = 1
    request.options.no_filter.SetInParent()
    return request


def test_ids_come_as_two_numbers_to_who_asks_for_them(
    stub: streams_pb2_grpc.StreamsStub, client: KurrentDBClient
) -> None:
    events = new_events("a")
    client.append_to_stream("ids-1", events=events, current_version=StreamState.ANY)
    request = read_request("ids-1")
    request.options.uuid_option.structured.SetInParent()
    (told,) = stub.Read(request, timeout=WAIT_S)
    structured = told.event.event.id.structured
    high, low = structured.most_significant_bits % 2**64, structured.least_significant_bits % 2**64
    assert high << 64 | low == events[0].id.int


@pytest.mark.parametrize("missing", ["uuid_option", "filter"])
def test_a_read_that_says_too_little_or_too_much_is_refused(stub: streams_pb2_grpc.StreamsStub, missing: str) -> None:
    request = read_request("any-1")
    if missing == "filter":
        request.options.uuid_option.string.SetInParent()
        request.options.filter.max = 1
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Read(request, timeout=WAIT_S))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
