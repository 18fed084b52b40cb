"""Open streams are bounded, for one client and for all: gRPC holds a message of each before it can be counted."""

import queue
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from meterlog.ingest.v1.ingest_pb2 import RecordUsageStreamRequest
from meterlog.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from services.ingest import client_limits
from services.ingest.client_limits import ClientLimits
from services.ingest.server import INGEST_SERVICE
from services.kernel.errors import Overloaded
from services.rpc.errors import DETAILS_KEY
from tests.ingest_room import WAIT_S, Replica, Room, open_room, usage, words
from tests.served import served


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with open_room(tmp_path) as opened:
        yield opened


def test_a_client_has_so_many_streams_open_and_all_clients_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limits, "STREAMS_MAX", 3)
    limits = ClientLimits(0, 10, streams_max=2)
    limits.begin_stream("noisy")
    limits.begin_stream("noisy")
    with pytest.raises(Overloaded) as too_many_of_one:
        limits.begin_stream("noisy")
    limits.begin_call("noisy")  # which is no stream
    limits.begin_stream("quiet")
    with pytest.raises(Overloaded) as too_many_of_all:
        limits.begin_stream("third")
    assert (too_many_of_one.value.reason, too_many_of_all.value.reason) == (
        "CLIENT_STREAMS_TOO_MANY",
        "STREAMS_TOO_MANY",
    )
    assert limits.calls_under_way() == 4
    limits.end_stream("noisy")
    limits.begin_stream("third")


def test_a_stream_that_is_one_call_too_many_is_not_counted_as_a_stream() -> None:
    limits = ClientLimits(0, 1, streams_max=1)
    limits.begin_call("a")
    with pytest.raises(Overloaded) as refused:
        limits.begin_stream("a")
    assert refused.value.reason == "CLIENT_CALLS_TOO_MANY"
    limits.end_call("a")
    limits.begin_stream("a")


def test_one_stream_too_many_is_refused_over_grpc_with_a_pause_and_a_place_is_free_again_afterwards(
    room: Room,
) -> None:
    replica = Replica(room.store, room.folder / "a", room.clock, limits=ClientLimits(0, 10, streams_max=1))
    replica.start()
    with served([(INGEST_SERVICE, replica.face.register)]) as address, grpc.insecure_channel(address) as channel:
        stub = IngestServiceStub(channel)
        requests = queue.Queue[RecordUsageStreamRequest | None]()
        first = stub.RecordUsageStream(iter(requests.get, None), timeout=WAIT_S)
        requests.put(RecordUsageStreamRequest(sequence=1, events=[usage("e-1")]))
        assert words(next(first).results) == ["recorded"]

        with pytest.raises(grpc.RpcError) as refused:
            next(stub.RecordUsageStream(iter([RecordUsageStreamRequest(events=[usage("e-2")])]), timeout=WAIT_S))
        requests.put(None)
        assert list(first) == []

        again = stub.RecordUsageStream(iter([RecordUsageStreamRequest(events=[usage("e-2")])]), timeout=WAIT_S)
        assert words(next(again).results) == ["recorded"]
        assert list(again) == []
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (content,) = [each.value for each in refused.value.trailing_metadata() if each.key == DETAILS_KEY]
    status = Status.FromString(content)
    assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details)
    assert [row.reason for row in replica.report.rows() if row.is_refused] == ["CLIENT_STREAMS_TOO_MANY"]
    replica.stop()
