"""The demonstration, from an empty folder to verified webhooks and a proved log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.auditing import KEY_FILE, KEYS_FOLDER, SEALED_FOLDER, verify_log
from services.cli.clock import advance_clock
from services.cli.connection import Services
from services.cli.declared import applying
from services.cli.declared.catalogue import read_catalogue
from services.cli.declared.difference import Action
from services.cli.demo.declarations import ENDPOINT, MESSAGE_TYPE, METERS, catalogue_yaml
from services.cli.demo.importing import import_trace
from services.cli.demo.receiver import Receiver
from services.cli.demo.repairing import Repaired, repair, repairs_table
from services.cli.demo.report import Findings, ImportCounts
from services.cli.demo.trace import CUSTOMERS, Trace
from services.cli.failure import CommandFailed
from services.cli.invoices import invoice_page, list_invoices, read_invoice, zone_of
from services.cli.periods import wait_until_closed
from services.cli.platform import Platform
from services.cli.projections import wait_until_folded
from services.cli.rebuilding import Rebuilt, rebuild_projections, rebuilt_table
from services.cli.screen import Screen
from services.cli.sealing import KEY_NAME, make_key, seal_once
from services.cli.usage import SUBJECT, UsageQuestion, UsageRow, read_usage, usage_table
from services.cli.webhooks import wait_until_delivered
from services.eventstore.audit.seal_key import read_seal_key
from services.eventstore.audit.verify import WHOLE, Seal, Verification
from services.kernel.calendar import Span
from services.kernel.clock import monotonic_s

FOLD_TIMEOUT_S: Final = 60.0
INVOICES_TIMEOUT_S: Final = 60.0
WEBHOOKS_TIMEOUT_S: Final = 60.0
PERIODS_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story happens."""

    trace: Trace
    platform: Platform
    services: Services
    receiver: Receiver
    screen: Screen

    @property
    def var(self) -> Path:
        """The demonstration's folder."""
        return self.platform.settings.var

    @property
    def invoices_due(self) -> int:
        """How many invoices there must be in the end."""
        return len(CUSTOMERS) * len(self.trace.billed_months)


def tell(stage: Stage) -> Findings:
    """Play the whole story; what does not come true in time shows in the findings."""
    _declare(stage)
    with _chapter(stage, "Import the trace"):
        first_import = _import(stage)
    with _chapter(stage, "Import it again: every row is known already"):
        second_import = _import(stage)
    usage = _measure(stage)
    invoices = _bill(stage)
    delivered, verified = _notify(stage)
    repaired = _repair(stage)
    rebuilt = _rebuild(stage)
    checkpoint, audit = _prove(stage)
    return Findings(
        first_import, second_import, usage, invoices, delivered, verified, repaired, rebuilt, audit, checkpoint
    )


def _declare(stage: Stage) -> None:
    with _chapter(stage, "Declare meters, plan, customers, subscriptions and a webhook endpoint"):
        path = stage.var / "catalogue.yaml"
        content = catalogue_yaml(CUSTOMERS, stage.trace.billed_months[0].start, stage.receiver.url)
        path.write_text(content, encoding="utf-8")
        results = list(applying.apply(stage.services, read_catalogue(content, str(path))))
    for result in results:
        if result.step.action is Action.REFUSED:
            raise CommandFailed(f"{result.step.item.path} of {path} was refused: {result.step.reason}")
        if result.secret:
            stage.receiver.expect_signatures_of(result.secret)


def _import(stage: Stage) -> ImportCounts:
    return import_trace(stage.trace, stage.platform.addresses["ingest"], stage.var, stage.screen)


def _measure(stage: Stage) -> list[UsageRow]:
    months = stage.trace.billed_months
    question = UsageQuestion(Span(months[0].start, months[-1].end), group_by=(SUBJECT,))
    with _chapter(stage, "Ask for the usage of each customer"):
        wait_until_folded(stage.services.aggregator, FOLD_TIMEOUT_S)
        rows = [
            row for customer in CUSTOMERS for meter in METERS for row in _usage_of(stage, customer, meter, question)
        ]
    stage.screen.people.print(usage_table(rows, METERS, question))
    return rows


def _usage_of(stage: Stage, customer: str, meter: str, question: UsageQuestion) -> Iterator[UsageRow]:
    """Asked customer by customer, so that one without usage has an answer, too."""
    for row in read_usage(stage.services, meter, replace(question, customers=(customer,), group_by=())):
        yield replace(row, group={SUBJECT: customer})


def _bill(stage: Stage) -> list[rating.Invoice]:
    with _chapter(stage, "Let the month and its grace period pass; invoices become final"):
        advance_clock(stage.services, stage.trace.billed_months[-1].end + stage.trace.grace)
        listed = _wait_for_invoices(stage)
        invoices = [read_invoice(stage.services, invoice.id) for invoice in listed]
    if invoices:
        page = invoice_page(invoices[0], zone_of(stage.services, invoices[0].customer))
        stage.screen.people.print(page)
    return invoices


def _wait_for_invoices(stage: Stage) -> Sequence[rating.Invoice]:
    deadline = monotonic_s() + INVOICES_TIMEOUT_S
    while True:
        invoices = list_invoices(stage.services, state=rating.INVOICE_STATE_FINALIZED)
        if len(invoices) >= stage.invoices_due or monotonic_s() > deadline:
            return invoices
        Event().wait(POLL_S)


def _notify(stage: Stage) -> tuple[int, int]:
    with _chapter(stage, "Receive and verify the webhooks"):
        verified = stage.receiver.wait_for(stage.invoices_due, WEBHOOKS_TIMEOUT_S)
        delivered = wait_until_delivered(stage.services, ENDPOINT, MESSAGE_TYPE, stage.invoices_due, WEBHOOKS_TIMEOUT_S)
    for problem in stage.receiver.problems[:3]:
        stage.screen.people.print(f"a webhook could not be verified: {problem}", style="red", markup=False)
    return delivered, verified


def _repair(stage: Stage) -> Repaired:
    """Once every month is closed, so that all of it comes too late."""
    with _chapter(stage, "Repair a closed month: late usage, an amendment, a cancelled batch, and its reversal"):
        wait_until_closed(stage.services, stage.trace.periods, PERIODS_TIMEOUT_S)
        repaired = repair(stage.services, stage.trace)
    stage.screen.people.print(repairs_table(repaired))
    return repaired


def _rebuild(stage: Stage) -> list[Rebuilt]:
    """Once nothing more is due, so that every run rebuilds the same log."""
    with _chapter(stage, "Rebuild every projection from the log and compare"):
        wait_until_closed(stage.services, stage.trace.periods, PERIODS_TIMEOUT_S)
        for service in (stage.services.aggregator, stage.services.rating, stage.services.notifier):
            wait_until_folded(service, FOLD_TIMEOUT_S)
        results = rebuild_projections(stage.services, (), stage.screen)
    stage.screen.people.print(rebuilt_table(results))
    return results


def _prove(stage: Stage) -> tuple[str, Verification]:
    """Sign what the log is now, then check every event against what was signed; the signed note, and the outcome."""
    folder, key_file = stage.var / SEALED_FOLDER, stage.var / KEYS_FOLDER / KEY_FILE
    store_url = stage.platform.settings.store_url
    with _chapter(stage, "Seal the log, and verify every event of it"):
        public_key = make_key(key_file, KEY_NAME)
        checkpoint = seal_once(store_url, folder, read_seal_key(key_file), ())
        audit = verify_log(store_url, WHOLE, Seal(folder, (public_key,)))
    return (checkpoint.note if checkpoint else ""), audit


@contextmanager
def _chapter(stage: Stage, title: str) -> Iterator[None]:
    stage.screen.people.print(f"▶ {title}", style="bold")
    started_s = monotonic_s()
    yield
    stage.screen.people.print(f"  {monotonic_s() - started_s:.1f} s", style="dim")
