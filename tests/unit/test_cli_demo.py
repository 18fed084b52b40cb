"""The demonstration's receiver, folder, declarations and checks."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.declared.catalogue import read_catalogue
from services.cli.demo.declarations import METERS, catalogue_yaml
from services.cli.demo.folder import MARKER, take_fresh_folder
from services.cli.demo.receiver import Receiver
from services.cli.demo.repairing import Repair, Repaired
from services.cli.demo.report import Findings, ImportCounts, checks, proof_document, report_document
from services.cli.demo.stores import open_stores
from services.cli.demo.trace import CUSTOMERS, PlainCount, Trace
from services.cli.failure import CommandFailed
from services.cli.rebuilding import Rebuilt
from services.cli.store_urls import shown_url
from services.cli.usage import SUBJECT, UsageRow
from services.eventstore.audit.verify import Verification
from services.eventstore.event import NO_STREAM, NewEvent, StreamName
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock
from services.kernel.timestamp import to_timestamp

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type":"invoice.finalized"}'
NOON = datetime(2023, 11, 16, 12, tzinfo=UTC)


def signed(message_id: str, secret: str = SECRET) -> dict[str, str]:
    now = SystemClock().now()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, BODY.decode()),
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.expect_signatures_of(SECRET)
        yield receiver


def test_a_message_delivered_twice_is_verified_once(receiver: Receiver) -> None:
    assert receiver.receive(signed("msg_1"), BODY) is HTTPStatus.NO_CONTENT
    assert receiver.receive(signed("msg_1"), BODY) is HTTPStatus.NO_CONTENT
    assert receiver.wait_for(2, timeout_s=0) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (signed("msg_1"), BODY + b" "),
        (signed("msg_1", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), BODY),
        ({**signed("msg_1"), "webhook-id": "msg_2"}, BODY),
        ({**signed("msg_1"), "webhook-signature": "nonsense"}, BODY),
        ({}, BODY),
        (signed("msg_1"), b"\xff"),
    ],
)
def test_a_message_that_cannot_prove_where_it_comes_from_is_refused(
    receiver: Receiver, headers: dict[str, str], body: bytes
) -> None:
    assert receiver.receive(headers, body) is HTTPStatus.BAD_REQUEST
    assert receiver.wait_for(1, timeout_s=0) == 0
    assert len(receiver.problems) == 1


def test_the_folder_of_an_earlier_demonstration_is_emptied(tmp_path: Path) -> None:
    var = tmp_path / "demo"
    take_fresh_folder(var, None).release()
    (var / "log").mkdir()
    (var / "log" / "events.db").touch()
    take_fresh_folder(var, None).release()
    assert not (var / "log").exists()
    assert (var / MARKER).exists()


def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(CommandFailed, match="no demonstration wrote"):
        take_fresh_folder(tmp_path, None)
    assert (tmp_path / "thesis.txt").exists()


def test_a_trace_inside_the_folder_is_not_thrown_away(tmp_path: Path) -> None:
    var = tmp_path / "demo"
    take_fresh_folder(var, None).release()
    trace = var / "trace.csv"
    trace.touch()
    with pytest.raises(CommandFailed, match="empties first"):
        take_fresh_folder(var, trace)
    assert trace.exists()


def test_what_the_demonstration_declares_can_be_applied() -> None:
    items = read_catalogue(catalogue_yaml(CUSTOMERS, NOON, "http://127.0.0.1:1/webhooks"), "catalogue.yaml")
    kinds = [item.kind for item in items]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "meter": 4,
        "customer": 8,
        "plan": 1,
        "subscription": 8,
        "endpoint": 1,
    }


def test_the_example_catalogue_declares_what_the_demonstration_bills() -> None:
    """So that whoever follows the example by hand gets the demonstration's invoices."""
    example = Path(__file__).resolve().parents[2] / "examples" / "llm" / "catalogue.yaml"
    by_hand = read_catalogue(example.read_bytes(), str(example))
    demonstrated = read_catalogue(
        catalogue_yaml(CUSTOMERS, datetime(2023, 11, 1, tzinfo=UTC), "http://127.0.0.1:1/webhooks"), "catalogue.yaml"
    )
    assert [item.message for item in by_hand] == [item.message for item in demonstrated if item.kind != "endpoint"]


def invoice(customer: str) -> rating.Invoice:
    lines = [
        rating.LineItem(price="platform", quantity="1", amount="20.00"),
        rating.LineItem(price="requests", meter="requests", quantity="1", amount="0.01"),
    ]
    start = to_timestamp(datetime(2023, 11, 1, tzinfo=UTC))
    return rating.Invoice(
        customer=customer, number=f"INV-{customer}", currency="USD", lines=lines, total="20.01", period_start_at=start
    )


def usage_of(customer: str, quantities: dict[str, str]) -> list[UsageRow]:
    span = TRACE.billed_months[0]
    return [UsageRow(meter, span, {SUBJECT: customer}, quantity) for meter, quantity in quantities.items()]


TRACE = Trace(
    Path("trace.csv"), 8, NOON, NOON, {name: PlainCount(1, Decimal(5), Decimal(7), Decimal(5)) for name in CUSTOMERS}, 8
)
ONE_REQUEST = dict(zip(METERS, ("1", "5", "7", "5"), strict=True))
REBUILT = Rebuilt("aggregator", "usage_windows", 9, 9, "aa-bb", "aa-bb", equal=True, swapped=True)
CLOSED, LATE, AMENDED, CANCELLED = (
    dict(zip(METERS, totals, strict=True))
    for totals in (
        ("1", "5", "7", "5"),
        ("201", "20005", "2007", "100"),
        ("201", "70005", "2007", "50005"),
        ("1", "50005", "7", "50005"),
    )
)
REPAIRED = Repaired(
    "tenant-0",
    CLOSED,
    "5",
    (Repair("late", LATE), Repair("amended", AMENDED), Repair("cancelled", CANCELLED), Repair("reverted", AMENDED)),
)
GOOD = Findings(
    first_import=ImportCounts(read=8, recorded=8, duplicate=0, invalid=0),
    second_import=ImportCounts(read=8, recorded=0, duplicate=8, invalid=0),
    usage=[row for customer in CUSTOMERS for row in usage_of(customer, ONE_REQUEST)],
    invoices=[invoice(customer) for customer in CUSTOMERS],
    webhooks_delivered=8,
    webhooks_verified=8,
    repaired=REPAIRED,
    rebuilt=[REBUILT],
    audit=Verification(True, 9, "ab", sealed=9),
    checkpoint="meterlog/aa\n9\n",
)


def test_a_story_without_a_flaw_passes_every_check() -> None:
    assert all(check.holds for check in checks(TRACE, GOOD))


@pytest.mark.parametrize(
    "flawed",
    [
        replace(GOOD, first_import=ImportCounts(8, 7, 0, 0)),
        replace(GOOD, first_import=ImportCounts(0, 0, 0, 0), second_import=ImportCounts(0, 0, 0, 0)),
        replace(GOOD, second_import=ImportCounts(8, 1, 7, 0)),
        replace(GOOD, usage=GOOD.usage[1:]),
        replace(GOOD, usage=[*GOOD.usage[1:], replace(GOOD.usage[0], quantity="2")]),
        replace(GOOD, repaired=replace(REPAIRED, repairs=(*REPAIRED.repairs[:3], Repair("reverted", CANCELLED)))),
        replace(GOOD, repaired=replace(REPAIRED, closed=dict(CLOSED, requests="2"))),
        replace(GOOD, invoices=GOOD.invoices[1:]),
        replace(GOOD, invoices=[*GOOD.invoices[1:], GOOD.invoices[1]]),
        replace(GOOD, invoices=[*GOOD.invoices[1:], rating.Invoice(customer="tenant-0", total="1.00")]),
        replace(GOOD, webhooks_verified=7),
        replace(GOOD, webhooks_delivered=9),
        replace(GOOD, rebuilt=[]),
        replace(GOOD, rebuilt=[replace(REBUILT, equal=False)]),
        replace(GOOD, audit=Verification(False, 3, "ab", None, "leaf differs", sealed=3)),
        replace(GOOD, audit=Verification(True, 9, "ab", sealed=8)),
        replace(GOOD, audit=Verification(True, 0, "", sealed=0)),
    ],
)
def test_any_flaw_fails_a_check(flawed: Findings) -> None:
    assert not all(check.holds for check in checks(TRACE, flawed))


def test_the_report_has_the_keys_that_were_promised() -> None:
    report = report_document(GOOD)
    assert list(report) == ["usage_events", "usage", "invoices", "webhooks", "repairs", "rebuild", "audit"]
    assert report["usage_events"] == {"read": 8, "recorded": 8, "duplicate_on_second_import": 8, "invalid": 0}
    assert report["audit"] == {"verified": True, "events": 9}
    assert report["rebuild"] == [
        {"projection": "usage_windows", "live_digest": "aa", "rebuilt_digest": "aa", "equal": True}
    ]


def test_what_belongs_to_one_store_is_in_the_proof_and_not_in_the_report() -> None:
    elsewhere = replace(
        GOOD,
        rebuilt=[replace(REBUILT, position=4_096, live_digest="aa-cc", rebuilt_digest="aa-cc")],
        audit=Verification(True, 9, "", sealed=9),
        checkpoint="meterlog/cc\n9\n",
    )
    assert report_document(elsewhere) == report_document(GOOD)
    assert proof_document(elsewhere, "log there") == {
        "store": "log there",
        "rebuild": [
            {"projection": "usage_windows", "position": 4_096, "live_digest": "aa-cc", "rebuilt_digest": "aa-cc"}
        ],
        "audit": {"events": 9, "sealed": 9, "head": "", "checkpoint": "meterlog/cc\n9\n", "problem": ""},
    }


def test_without_a_word_everything_lies_in_the_folder_of_the_demonstration(tmp_path: Path) -> None:
    with open_stores("sqlite", "", tmp_path) as stores:
        assert stores.store_url == f"sqlite:///{tmp_path}/log/events.db"
        assert stores.database_url == ""


def test_a_log_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    store = open_store(url, SystemClock())
    store.append(StreamName("meter", "calls"), [NewEvent(UUID(int=1), "MeterCreated", 1, b"")], NO_STREAM)
    store.close()
    with pytest.raises(CommandFailed, match="not empty") as refused, open_stores(url, "", tmp_path):
        pass
    assert refused.value.reason == "LOG_NOT_EMPTY"


@pytest.mark.parametrize("database", ["sqlite:////tmp/tables.db", "kurrentdb://admin:hunter2@h", "mysql://u:hunter2@h"])
def test_services_share_no_database_but_postgresql(tmp_path: Path, database: str) -> None:
    with pytest.raises(CommandFailed, match="PostgreSQL") as refused, open_stores("sqlite", database, tmp_path):
        pass
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h:5432/d?schema=s", "postgresql://u:…@h:5432/d?schema=s"),
        ("postgresql://u@h/d?password=hunter2&host=/run/x", "postgresql://u@h/d?password=…&host=/run/x"),
        ("postgresql://postgres:@/d?host=/run/x", "postgresql://postgres@/d?host=/run/x"),
        ("kurrentdb+discover://admin:hunter2@a:1,b:2?Tls=true", "kurrentdb+discover://admin:…@a:1,b:2?Tls=true"),
        ("esdb://admin:hunter2/@h:1", "esdb://…"),
        ("postgresql://u:hunter@2@h/d", "postgresql://u:…@h/d"),
        ("sqlite:////var/lib/a?b#c/events.db", "sqlite:////var/lib/a?b#c/events.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_the_flat_line_of_the_report_has_no_meter() -> None:
    invoices = report_document(GOOD)["invoices"]
    assert isinstance(invoices, list)
    assert invoices[0] == {
        "customer": "tenant-0",
        "number": "INV-tenant-0",
        "currency": "USD",
        "total": "20.01",
        "lines": [
            {"meter": None, "quantity": "1", "amount": "20.00"},
            {"meter": "requests", "quantity": "1", "amount": "0.01"},
        ],
    }
