"""Reading usage and invoices: exact numbers, whole lists, and refusals that say why."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from meterlog.aggregator.v1 import aggregator_pb2, aggregator_pb2_grpc
from meterlog.client import AsyncMeterlog, CallFailed, Meterlog, WrongValue
from meterlog.rating.v1 import rating_pb2, rating_pb2_grpc

START = datetime(2023, 11, 1, tzinfo=UTC)
END = datetime(2023, 12, 1, tzinfo=UTC)
PERIOD = {
    "period_start_at": Timestamp(seconds=int(START.timestamp())),
    "period_end_at": Timestamp(seconds=int(END.timestamp())),
}


class Refusal(grpc.Status, Exception):
    """NOT_FOUND with the details that the services send."""

    code = grpc.StatusCode.NOT_FOUND
    details = 'no meter "unknown"'

    @property
    def trailing_metadata(self):
        details = [Any(), Any()]
        details[0].Pack(ErrorInfo(reason="METER_NOT_FOUND", domain="meterlog"))
        details[1].Pack(BadRequest(field_violations=[BadRequest.FieldViolation(field="meter")]))
        return (("grpc-status-details-bin", Status(code=5, details=details).SerializeToString()),)


class Aggregator(aggregator_pb2_grpc.AggregatorServiceServicer):
    def QueryUsage(self, request, context):
        if request.meter == "unknown":
            context.abort_with_status(Refusal())
        rows = [
            aggregator_pb2.UsageRow(
                start_at=request.start_at, end_at=request.end_at, group={"subject": subject}, value=value
            )
            for subject, value in zip(request.subjects, ["12345678901234567890.000000000001", None], strict=True)
        ]
        return aggregator_pb2.QueryUsageResponse(rows=rows)


class Rating(rating_pb2_grpc.RatingServiceServicer):
    def ListInvoices(self, request, _context):
        page = int(request.page_token or "1")
        line = rating_pb2.LineItem(price="platform", quantity="1", amount="20.00")
        invoice = rating_pb2.Invoice(
            id=f"invoice-{page}", state=rating_pb2.INVOICE_STATE_FINALIZED, lines=[line], total="20.00", **PERIOD
        )
        return rating_pb2.ListInvoicesResponse(invoices=[invoice], next_page_token="" if page == 3 else str(page + 1))


@pytest.fixture(scope="module")
def address():
    server = grpc.server(ThreadPoolExecutor(4))
    aggregator_pb2_grpc.add_AggregatorServiceServicer_to_server(Aggregator(), server)
    rating_pb2_grpc.add_RatingServiceServicer_to_server(Rating(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait(60)


@pytest.fixture
def meterlog(address):
    with Meterlog(aggregator=address, rating=address) as client:
        yield client


def test_usage_is_exact_and_absent_usage_is_none(meterlog):
    rows = meterlog.usage.query("storage", START, END, subjects=["a", "b"], window="month", group_by=["subject"])
    assert [row.group["subject"] for row in rows] == ["a", "b"]
    assert [row.value for row in rows] == [Decimal("12345678901234567890.000000000001"), None]
    assert (rows[0].start_at, rows[0].end_at) == (START, END)


def test_invoices_come_from_every_page(meterlog):
    invoices = list(meterlog.list_invoices("tenant-0", state="finalized"))
    assert [invoice.id for invoice in invoices] == ["invoice-1", "invoice-2", "invoice-3"]
    assert (invoices[0].state, invoices[0].total, invoices[0].period_end_at) == ("finalized", Decimal("20.00"), END)
    assert str(invoices[0].lines[0].amount) == "20.00"


def test_a_refusal_carries_status_reason_and_field(meterlog):
    with pytest.raises(CallFailed, match='NOT_FOUND: no meter "unknown"') as refused:
        meterlog.usage.query("unknown", START, END)
    failure = refused.value.failure
    assert (failure.status, failure.reason, failure.field) == ("NOT_FOUND", "METER_NOT_FOUND", "meter")


def test_a_service_that_is_not_there_is_a_failed_call():
    with Meterlog(rating="127.0.0.1:1") as meterlog, pytest.raises(CallFailed, match="UNAVAILABLE"):
        list(meterlog.list_invoices())


@pytest.mark.parametrize("arguments", [{"window": "fortnight"}, {"start_at": START.replace(tzinfo=None)}])
def test_a_question_that_cannot_be_asked_is_refused(meterlog, arguments):
    with pytest.raises(WrongValue):
        meterlog.usage.query(**{"meter": "storage", "start_at": START, "end_at": END, **arguments})


def test_an_unknown_state_is_refused(meterlog):
    with pytest.raises(WrongValue, match="any, draft, finalized"):
        list(meterlog.list_invoices(state="paid"))


def test_the_asyncio_client_reads_the_same(address):
    async def read():
        async with AsyncMeterlog(aggregator=address, rating=address) as client:
            rows = await client.usage.query("storage", START, END, subjects=["a", "b"])
            invoices = [invoice async for invoice in client.list_invoices()]
            with pytest.raises(CallFailed) as refused:
                await client.usage.query("unknown", START, END)
            return rows, invoices, refused.value.failure

    rows, invoices, failure = asyncio.run(read())
    assert (rows[1].value, len(invoices), failure.reason) == (None, 3, "METER_NOT_FOUND")
