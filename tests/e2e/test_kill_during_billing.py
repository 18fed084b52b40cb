"""Killing services while a month is closed, invoiced and announced changes no invoice and loses no webhook."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event

import pytest

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.clock import advance_clock
from services.cli.connection import Services
from services.cli.declared.applying import apply
from services.cli.declared.catalogue import read_catalogue
from services.cli.demo.declarations import ENDPOINT, MESSAGE_TYPE, catalogue_yaml
from services.cli.demo.receiver import Receiver
from services.cli.demo.trace import CUSTOMERS, MAPPING_YAML
from services.cli.importing.command import import_usage
from services.cli.importing.generate import generate_usage
from services.cli.invoices import list_invoices
from services.cli.platform import Platform
from services.cli.rebuilding import rebuild_projections
from services.cli.screen import Screen
from services.cli.webhooks import wait_until_delivered
from services.kernel.clock import monotonic_s
from services.projection.projection import RebuildMode
from tests.stores import STORES

NOVEMBER = datetime(2023, 11, 1, tzinfo=UTC)
AFTER_GRACE = datetime(2023, 12, 1, 1, 0, 1, tzinfo=UTC)
ROWS = 800
TIMEOUT_S = 120.0


def final_invoices(services: Services) -> list[rating.Invoice]:
    deadline = monotonic_s() + TIMEOUT_S
    while len(found := list_invoices(services, state=rating.INVOICE_STATE_FINALIZED)) < len(CUSTOMERS):
        assert monotonic_s() < deadline, f"only {len(found)} invoices are final"
        Event().wait(0.05)
    return found


@pytest.mark.parametrize("platform", STORES, indirect=True)
def test_a_month_that_is_billed_through_kills_has_one_invoice_a_customer_and_every_webhook(
    tmp_path: Path, platform: Platform
) -> None:
    trace, mapping = tmp_path / "hour.csv", tmp_path / "mapping.yaml"
    generate_usage(trace, rows=ROWS)
    mapping.write_text(MAPPING_YAML)
    services = Services(platform.addresses)
    with Receiver() as receiver:
        for applied in apply(services, read_catalogue(catalogue_yaml(CUSTOMERS, NOVEMBER, receiver.url), "demo")):
            if applied.secret:
                receiver.expect_signatures_of(applied.secret)
        import_usage(trace, mapping, address=platform.addresses["ingest"], var=platform.settings.var)

        platform.kill("aggregator")
        advance_clock_when_ready(platform, services)
        for service in ("rating", "notifier", "rating", "aggregator", "notifier"):
            platform.kill(service)
            platform.wait_until_ready(TIMEOUT_S)

        invoices = final_invoices(services)
        assert sorted(invoice.customer for invoice in invoices) == sorted(CUSTOMERS)
        assert sorted(invoice.number for invoice in invoices) == [f"INV-{n:06}" for n in range(1, len(CUSTOMERS) + 1)]
        assert all(Decimal(invoice.total) > 20 for invoice in invoices)
        assert receiver.wait_for(len(CUSTOMERS), TIMEOUT_S) == len(CUSTOMERS)
        assert receiver.problems == ()
        delivered = wait_until_delivered(services, ENDPOINT, MESSAGE_TYPE, len(CUSTOMERS), TIMEOUT_S)
        assert delivered == len(CUSTOMERS)
    assert all(result.equal for result in rebuild_projections(services, (), Screen(True), RebuildMode.COMPARE_ONLY))
    services.close()


def advance_clock_when_ready(platform: Platform, services: Services) -> None:
    platform.wait_until_ready(TIMEOUT_S)
    advance_clock(services, AFTER_GRACE)
