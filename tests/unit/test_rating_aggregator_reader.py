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
WAIT_S = 60.0


class Aggregator(aggregator_pb2_grpc.AggregatorServiceServicer):
    """Answers with the values and errors that it was given, by meter; a value of None is none."""

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        self.position: int | None = None
        self.left_out: set[str] = set()
        self.failures: dict[str, grpc.StatusCode] = {}
        self.asked: list[aggregator_pb2.QueryTotalsRequest] = []

    def QueryTotals(
        self, request: aggregator_pb2.QueryTotalsRequest, context: grpc.ServicerContext
    ) -> aggregator_pb2.QueryTotalsResponse:
        self.asked.append(request)
        for meter in request.meters:
            if meter in self.failures:
                context.abort(self.failures[meter], "as the test wants")
        answered = [meter for meter in request.meters if meter not in self.left_out]
        totals = [aggregator_pb2.MeterTotal(meter=meter, value=self.values.get(meter)) for meter in answered]
        position = request.min_position if self.position is None else self.position
        return aggregator_pb2.QueryTotalsResponse(totals=totals, position=position)

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


def test_quantities_are_exact_and_all_count_up_to_the_position_of_the_one_answer(
    reader: AggregatorReader, aggregator: Aggregator
) -> None:
    long = "123456789012345678901234567890.123456789012"
    aggregator.values = {"requests": "0.1", "tokens": long}
    aggregator.position = 9
    read = reader.usage(("requests", "tokens"), "acme", JANUARY, Position(7), WAIT_S)
    assert read.quantities == {"requests": Decimal("0.1"), "tokens": Decimal(long)}
    assert read.position == 9
    assert len(aggregator.asked) == 1


def test_the_aggregator_is_asked_for_one_customer_the_whole_period_and_everything_recorded(
    reader: AggregatorReader, aggregator: Aggregator
) -> None:
    reader.usage(("requests", "tokens"), "acme", JANUARY, Position(7), WAIT_S)
    (asked,) = aggregator.asked
    assert (list(asked.meters), asked.subject, asked.min_position) == (["requests", "tokens"], "acme", 7)
    assert (asked.start_at, asked.end_at) == (at("2024-01-01"), at("2024-02-01"))


@pytest.mark.parametrize("value", [None, "0"])
def test_no_usage_is_zero(reader: AggregatorReader, aggregator: Aggregator, value: str | None) -> None:
    aggregator.values = {"requests": value}
    assert reader.usage(("requests",), "acme", JANUARY, Position(7), WAIT_S).quantities == {"requests": Decimal(0)}


def test_an_answer_that_leaves_a_meter_out_is_never_billed(reader: AggregatorReader, aggregator: Aggregator) -> None:
    aggregator.left_out = {"tokens"}
    with pytest.raises(Corrupt, match="tokens"):
        reader.usage(("requests", "tokens"), "acme", JANUARY, Position(7), WAIT_S)


def test_a_plan_without_meters_asks_nobody(reader: AggregatorReader, aggregator: Aggregator) -> None:
    assert reader.usage((), "acme", JANUARY, Position(7), WAIT_S).position == 7
    assert aggregator.asked == []


@pytest.mark.parametrize("value", ["", "NaN", "Infinity", "many"])
def test_an_answer_that_is_no_quantity_is_never_billed(
    reader: AggregatorReader, aggregator: Aggregator, value: str
) -> None:
    aggregator.values = {"requests": value}
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
    aggregator.position = 6
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
