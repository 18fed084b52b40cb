"""Usage is read from the aggregator exactly, and its absence is told apart from no usage."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import grpc
import pytest

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc
from services.eventstore.event import Position
from services.kernel.calendar import Span
from services.kernel.errors import Corrupt, DomainError, TimedOut, Unavailable
from services.rating.aggregator_reader import AggregatorReader
from services.rating.usage_reader import MeterState
from tests.rating_room import at, utc

JANUARY = Span(utc("2024-01-01"), utc("2024-02-01"))
WAIT_S = 5.0


class Aggregator(aggregator_pb2_grpc.AggregatorServiceServicer):
    """Answers with the rows and errors that it was given, by meter."""

    def __init__(self) -> None:
        self.rows: dict[str, list[aggregator_pb2.UsageRow]] = {}
        self.positions: dict[str, int] = {}
        self.failures: dict[str, grpc.StatusCode] = {}
        self.asked: list[aggregator_pb2.QueryUsageRequest] = []

    def QueryUsage(
        self, request: aggregator_pb2.QueryUsageRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.QueryUsageResponse:
        self.asked.append(request)
        if request.meter in self.failures:
            context.abort(self.failures[request.meter], "as the test wants")
        position = self.positions.get(request.meter, request.min_position)
        return aggregator_pb2.QueryUsageResponse(rows=self.rows.get(request.meter, []), position=position)

    def GetMeter(
        self, request: aggregator_pb2.GetMeterRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.GetMeterResponse:
        if request.slug in self.failures:
            context.abort(self.failures[request.slug], "as the test wants")
        archived = {"archived_at": at("2024-01-01")} if request.slug == "old" else {}
        return aggregator_pb2.GetMeterResponse(meter=aggregator_pb2.Meter(slug=request.slug, **archived))


@pytest.fixture
def aggregator() -> Aggregator:
    return Aggregator()


@pytest.fixture
def reader(aggregator: Aggregator) -> Iterator[AggregatorReader]:
    server = grpc.server(ThreadPoolExecutor(2))
    aggregator_pb2_grpc.add_AggregatorServiceServicer_to_server(aggregator, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield AggregatorReader(channel)
    server.stop(None).wait(WAIT_S)


def row(value: str | None) -> aggregator_pb2.UsageRow:
    return aggregator_pb2.UsageRow(value=value) if value is not None else aggregator_pb2.UsageRow()


def test_quantities_are_exact_and_count_up_to_the_lowest_position(
    reader: AggregatorReader, aggregator: Aggregator
) -> None:
    long = "123456789012345678901234567890.123456789012"
    aggregator.rows = {"requests": [row("0.1")], "tokens": [row(long)]}
    aggregator.positions = {"requests": 9, "tokens": 12}
    read = reader.usage(("requests", "tokens"), "acme", JANUARY, Position(7), WAIT_S)
    assert read.quantities == {"requests": Decimal("0.1"), "tokens": Decimal(long)}
    assert read.position == 9


def test_the_aggregator_is_asked_for_one_customer_the_whole_period_and_everything_recorded(
    reader: AggregatorReader, aggregator: Aggregator
) -> None:
    reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S)
    (asked,) = aggregator.asked
    assert (asked.meter, list(asked.subjects), asked.min_position) == ("requests", ["acme"], 7)
    assert (asked.start_at, asked.end_at) == (at("2024-01-01"), at("2024-02-01"))
    assert (asked.window, list(asked.group_by)) == (aggregator_pb2.WINDOW_NONE, [])


@pytest.mark.parametrize("rows", [[], [row(None)], [row("0")]])
def test_no_usage_is_zero(
    reader: AggregatorReader, aggregator: Aggregator, rows: list[aggregator_pb2.UsageRow]
) -> None:
    aggregator.rows = {"requests": rows}
    assert reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S).quantities == {"requests": Decimal(0)}


def test_a_plan_without_meters_asks_nobody(reader: AggregatorReader, aggregator: Aggregator) -> None:
    assert reader.usage((), "acme", JANUARY, Position(7), WAIT_S).position == 7
    assert aggregator.asked == []


@pytest.mark.parametrize("value", ["", "NaN", "Infinity", "many"])
def test_an_answer_that_is_no_quantity_is_never_billed(
    reader: AggregatorReader, aggregator: Aggregator, value: str
) -> None:
    aggregator.rows = {"requests": [row(value)]}
    with pytest.raises(Corrupt):
        reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.UNKNOWN, Unavailable),
        (grpc.StatusCode.NOT_FOUND, Unavailable),
        (grpc.StatusCode.PERMISSION_DENIED, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
    ],
)
def test_an_aggregator_that_does_not_answer_is_asked_again_later(
    reader: AggregatorReader, aggregator: Aggregator, code: grpc.StatusCode, error: type[DomainError]
) -> None:
    aggregator.failures = {"requests": code}
    with pytest.raises(error, match="aggregator"):
        reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S)


def test_an_aggregator_that_lags_behind_is_never_billed_from(reader: AggregatorReader, aggregator: Aggregator) -> None:
    aggregator.positions = {"requests": 6}
    with pytest.raises(Unavailable, match="before 7"):
        reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S)


def test_nobody_listening_is_unavailable() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(Unavailable, match="see that it runs"):
        AggregatorReader(channel).usage(("requests",), "acme", JANUARY, Position(0), WAIT_S)


def test_a_meter_is_in_use_archived_or_absent(reader: AggregatorReader, aggregator: Aggregator) -> None:
    aggregator.failures = {"gone": grpc.StatusCode.NOT_FOUND, "lost": grpc.StatusCode.UNAVAILABLE}
    states = [reader.meter_state(slug, WAIT_S) for slug in ("requests", "old", "gone")]
    assert states == [MeterState.IN_USE, MeterState.ARCHIVED, MeterState.ABSENT]
    with pytest.raises(Unavailable):
        reader.meter_state("lost", WAIT_S)
