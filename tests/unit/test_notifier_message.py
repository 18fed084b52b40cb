"""A fact of the log becomes one message: always the same id, always the same bytes."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.message import Message

from meterlog.events.v1.invoice_pb2 import InvoiceDrafted
from meterlog.events.v1.meter_pb2 import (
    MeterArchived,
    PeriodTotal,
    RestatedTotal,
    UsagePeriodClosed,
    UsagePeriodRestated,
)
from services.eventstore.catalogue import MESSAGES, UnknownEventType
from services.eventstore.event import Position, RecordedEvent, StreamName
from services.kernel.timestamp import to_timestamp
from services.notifier.fact import ANNOUNCED, FACT_CATEGORIES, MESSAGE_TYPES, instant_text
from services.notifier.message import BODY_BYTES_MAX, created, id_of, message_of
from tests.webhook_bench import NOON, finalized_invoice

JANUARY = to_timestamp(datetime(2024, 1, 1, tzinfo=UTC))
FEBRUARY = to_timestamp(datetime(2024, 2, 1, tzinfo=UTC))


def recorded(message: Message, stream: StreamName, version: int = 1, position: int = 9) -> RecordedEvent:
    return RecordedEvent(
        position=Position(position),
        stream=stream,
        version=version,
        id=UUID(int=1),
        type=type(message).__name__,
        schema_version=1,
        recorded_at=NOON,
        payload=message.SerializeToString(),
        leaf=b"",
    )


INVOICE = StreamName("invoice", "inv-1")


def test_a_final_invoice_is_told_whole() -> None:
    message = message_of(recorded(finalized_invoice(1), INVOICE))
    assert message is not None
    assert message.body.decode() == (
        '{"id":"msg_35kpfipjnujyw7rwouldh3jnck","type":"invoice.finalized","timestamp":"2024-02-01T12:00:00Z",'
        '"data":{"id":"inv-1","number":"INV-000001","customer":"tenant-0","subscription":"tenant-0-standard",'
        '"currency":"USD","period_start_at":"2024-01-01T00:00:00Z","period_end_at":"2024-02-01T00:00:00Z",'
        '"lines":[{"price":"platform","description":"Platform","meter":null,"quantity":"1","amount":"20.00"},'
        '{"price":"requests","description":"Requests","meter":"requests","quantity":"1200","amount":"1.40"}],'
        '"total":"21.40","usage_position":7,"finalized_at":"2024-02-01T12:00:00Z"}}'
    )


def test_a_draft_is_told_without_amounts() -> None:
    drafted = InvoiceDrafted(
        id="inv-1",
        customer="tenant-0",
        subscription="s",
        plan="standard",
        plan_version=2,
        currency="USD",
        period_start_at=JANUARY,
        period_end_at=FEBRUARY,
        drafted_at=JANUARY,
    )
    message = message_of(recorded(drafted, INVOICE, version=0))
    assert message is not None
    assert (message.type, message.occurred_at) == ("invoice.drafted", datetime(2024, 1, 1, tzinfo=UTC))
    assert json.loads(message.body)["data"]["plan_version"] == 2


def test_a_closed_period_is_told_with_its_totals() -> None:
    message = message_of(recorded(closed_period(2), StreamName("period", "zoë/month/2024-01-01"), 0))
    assert message is not None
    data = json.loads(message.body)["data"]
    assert data["customer"] == "zoë"
    assert data["totals"] == [{"meter": "meter_0", "quantity": "0.5"}, {"meter": "meter_1", "quantity": "0.5"}]
    assert data["time_zone"] == "UTC"
    assert "zoë".encode() in message.body


def test_a_restated_period_is_told_with_what_changed() -> None:
    fact = UsagePeriodRestated(
        subject="zoë",
        period="month",
        time_zone="Europe/Berlin",
        start_at=JANUARY,
        end_at=FEBRUARY,
        restatement=2,
        previous_position=4,
        position=9,
        totals=[
            RestatedTotal(meter="calls", old_quantity="1", new_quantity="2"),
            RestatedTotal(meter="gone", old_quantity="0.5"),
            RestatedTotal(meter="new", new_quantity="7"),
        ],
        restated_at=FEBRUARY,
    )
    message = message_of(recorded(fact, StreamName("period", "zoë/month@Europe/Berlin/2024-01-01"), 2))
    assert message is not None
    data = json.loads(message.body)["data"]
    assert (message.type, data["restatement"], data["time_zone"]) == ("usage.period.restated", 2, "Europe/Berlin")
    assert (data["previous_usage_position"], data["usage_position"]) == (4, 9)
    assert data["totals"] == [
        {"meter": "calls", "old_quantity": "1", "new_quantity": "2"},
        {"meter": "gone", "old_quantity": "0.5", "new_quantity": None},
        {"meter": "new", "old_quantity": None, "new_quantity": "7"},
    ]
    closing = message_of(recorded(closed_period(1), StreamName("period", "zoë/month@Europe/Berlin/2024-01-01"), 0))
    assert closing is not None
    assert closing.id != message.id


def test_a_body_that_would_be_too_long_leaves_its_rows_out_and_says_so() -> None:
    message = message_of(recorded(closed_period(20_000), StreamName("period", "a/month/2024-01-01"), 0))
    assert message is not None
    data = json.loads(message.body)["data"]
    assert len(message.body) < BODY_BYTES_MAX
    assert (data["totals"], data["truncated"], data["customer"]) == ([], True, "zoë")


def test_the_id_depends_on_stream_version_and_type_only() -> None:
    here = message_of(recorded(finalized_invoice(1), INVOICE, position=9))
    there = message_of(recorded(finalized_invoice(1), INVOICE, position=77))
    assert here is not None
    assert there is not None
    assert here.id == there.id == id_of(INVOICE, 1, "invoice.finalized")
    others = {id_of(INVOICE, 2, "invoice.finalized"), id_of(INVOICE, 1, "x"), id_of(StreamName("a", "b"), 1, "x")}
    assert len(others - {here.id}) == 3


def test_an_id_is_thirty_plain_characters() -> None:
    identifiers = [id_of(StreamName("invoice", str(number)), 0, "t") for number in range(100)]
    assert len(set(identifiers)) == 100
    assert all(len(each) == 30 and each.isascii() and each.islower() and "." not in each for each in identifiers)


def test_other_facts_are_not_announced() -> None:
    assert message_of(recorded(MeterArchived(slug="a"), StreamName("meter", "a"))) is None


def test_a_fact_that_this_release_does_not_know_is_not_passed_over() -> None:
    """A newer release may announce it; a message that was passed over is never made up for."""
    unknown = RecordedEvent(Position(1), INVOICE, 0, UUID(int=1), "InvoicePraised", 3, NOON, b"\xff", b"")
    with pytest.raises(UnknownEventType, match="InvoicePraised version 3"):
        message_of(unknown)


def test_every_announced_fact_is_in_the_catalogue_and_every_message_type_in_the_table() -> None:
    assert all((name, 1) in MESSAGES for name in ANNOUNCED)
    assert {announce(MESSAGES[name, 1]()).type for name, announce in ANNOUNCED.items()} == set(MESSAGE_TYPES)
    assert {"invoice", "period"} == FACT_CATEGORIES


def test_the_event_holds_the_exact_bytes_the_source_and_the_endpoints_in_order() -> None:
    message = message_of(recorded(finalized_invoice(1), INVOICE))
    assert message is not None
    event = created(message, ("b", "a"))
    assert (event.body, list(event.endpoints)) == (message.body, ["a", "b"])
    assert (event.source_stream, event.source_version, event.source_position) == ("invoice-inv-1", 1, 9)


def test_an_instant_has_a_fraction_only_where_there_is_one() -> None:
    assert instant_text(NOON) == "2024-02-01T12:00:00Z"
    assert instant_text(NOON.replace(microsecond=5)) == "2024-02-01T12:00:00.000005Z"


def closed_period(meters: int) -> UsagePeriodClosed:
    return UsagePeriodClosed(
        subject="zoë",
        period="month",
        start_at=JANUARY,
        end_at=FEBRUARY,
        position=4,
        totals=[PeriodTotal(meter=f"meter_{number}", quantity="0.5") for number in range(meters)],
        closed_at=FEBRUARY,
    )
