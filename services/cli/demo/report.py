"""The report of the demonstration, and the checks that decide whether it succeeded."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.demo.repairing import AMENDED_BY, LATE_EVENTS, LATE_TOKENS, Repaired
from services.cli.demo.trace import CUSTOMERS, PlainCount, Trace
from services.cli.rebuilding import Rebuilt
from services.cli.usage import SUBJECT, UsageRow
from services.eventstore.audit.verify import Verification
from services.kernel.quantity import decimal_text, total
from services.projection.digest import content_digest


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What became of the rows of one import."""

    read: int
    recorded: int
    duplicate: int
    invalid: int


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the story found out. Invoices are finalized ones, with lines; `checkpoint` is the signed note."""

    first_import: ImportCounts
    second_import: ImportCounts
    usage: Sequence[UsageRow]
    invoices: Sequence[rating.Invoice]
    webhooks_delivered: int
    webhooks_verified: int
    repaired: Repaired
    rebuilt: Sequence[Rebuilt]
    audit: Verification
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold."""

    claim: str
    holds: bool


def report_document(findings: Findings) -> dict[str, object]:
    """The report as it is written to report.json: the same on every store.

    Digests are those of the content: positions, drawn salts and the like do not enter.
    """
    return {
        "usage_events": {
            "read": findings.first_import.read,
            "recorded": findings.first_import.recorded,
            "duplicate_on_second_import": findings.second_import.duplicate,
            "invalid": findings.first_import.invalid,
        },
        "usage": [
            {"customer": row.group[SUBJECT], "meter": row.meter, "quantity": row.quantity} for row in findings.usage
        ],
        "invoices": [_invoice_document(invoice) for invoice in findings.invoices],
        "webhooks": {"delivered": findings.webhooks_delivered, "verified": findings.webhooks_verified},
        "repairs": {
            "customer": findings.repaired.customer,
            "closed": dict(findings.repaired.closed),
            "amended_from": findings.repaired.amended_from,
            "restated": [{"what": each.what, "totals": dict(each.totals)} for each in findings.repaired.repairs],
        },
        "rebuild": [
            {
                "projection": result.projection,
                "live_digest": content_digest(result.live_digest),
                "rebuilt_digest": content_digest(result.rebuilt_digest),
                "equal": result.equal,
            }
            for result in findings.rebuilt
        ],
        "audit": {"verified": findings.audit.verified, "events": findings.audit.events},
    }


def proof_document(findings: Findings, store: str) -> dict[str, object]:
    """What belongs to this one run on this one store, as it is written to proof.json.

    Whole digests, positions included; the audit chain's head, empty on a store without a chain; the signed checkpoint.
    """
    return {
        "store": store,
        "rebuild": [
            {
                "projection": result.projection,
                "position": result.position,
                "live_digest": result.live_digest,
                "rebuilt_digest": result.rebuilt_digest,
            }
            for result in findings.rebuilt
        ],
        "audit": {
            "events": findings.audit.events,
            "sealed": findings.audit.sealed,
            "head": findings.audit.head,
            "checkpoint": findings.checkpoint,
            "problem": findings.audit.problem,
        },
    }


def checks(trace: Trace, findings: Findings) -> tuple[Check, ...]:
    """What must hold for the demonstration to have succeeded."""
    first, second = findings.first_import, findings.second_import
    invoices_due = len(CUSTOMERS) * len(trace.billed_months)
    billed = {(invoice.customer, invoice.period_start_at.seconds) for invoice in findings.invoices}
    return (
        Check("every row was recorded, or reported with its line", first.recorded + first.invalid == first.read > 0),
        Check("importing again recorded nothing", (second.recorded, second.duplicate) == (0, first.recorded)),
        Check("usage is what a plain count of the file says", _quantities(findings.usage) == _counted(trace)),
        Check("every customer has one final invoice a month", len(billed) == len(findings.invoices) == invoices_due),
        Check("every total is the sum of its lines", all(map(_adds_up, findings.invoices))),
        Check(
            "every invoice's webhook was delivered, and verified by its receiver",
            findings.webhooks_delivered == findings.webhooks_verified == invoices_due,
        ),
        Check("a closed month is restated exactly after each repair", _is_repaired(findings.repaired)),
        Check(
            "every projection, rebuilt from the log, equals the live one",
            bool(findings.rebuilt) and all(result.equal for result in findings.rebuilt),
        ),
        Check(
            "the log is sealed, and every event of it is verified against the seal",
            findings.audit.verified and findings.audit.events == findings.audit.sealed > 0,
        ),
    )


def checks_table(results: Sequence[Check]) -> Table:
    """One line a check."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for result in results:
        table.add_row(Text("✓", "green") if result.holds else Text("✗", "bold red"), result.claim)
    return table


def _invoice_document(invoice: rating.Invoice) -> dict[str, object]:
    return {
        "customer": invoice.customer,
        "number": invoice.number,
        "currency": invoice.currency,
        "total": invoice.total,
        "lines": [
            {"meter": line.meter or None, "quantity": line.quantity, "amount": line.amount} for line in invoice.lines
        ],
    }


def _adds_up(invoice: rating.Invoice) -> bool:
    return total([Decimal(line.amount) for line in invoice.lines]) == Decimal(invoice.total)


def _is_repaired(repaired: Repaired) -> bool:
    """Each time the totals are what is to be expected from the totals as they were closed."""
    late, amended, cancelled, reverted = (
        {meter: Decimal(quantity) for meter, quantity in each.totals.items()} for each in repaired.repairs
    )
    with_late = {meter: Decimal(quantity) for meter, quantity in repaired.closed.items()}
    with_late["requests"] += LATE_EVENTS
    for meter, tokens in LATE_TOKENS.items():
        with_late[meter] += LATE_EVENTS * int(tokens)
    with_late["largest_prompt"] = max(with_late["largest_prompt"], Decimal(LATE_TOKENS["input_tokens"]))
    with_both = dict(with_late, input_tokens=with_late["input_tokens"] + AMENDED_BY)
    with_both["largest_prompt"] = max(with_late["largest_prompt"], Decimal(repaired.amended_from) + AMENDED_BY)
    without_late = dict(with_both, requests=with_both["requests"] - LATE_EVENTS)
    for meter, tokens in LATE_TOKENS.items():
        without_late[meter] -= LATE_EVENTS * int(tokens)
    return (late, amended, cancelled, reverted) == (with_late, with_both, without_late, with_both)


def _quantities(rows: Sequence[UsageRow]) -> dict[tuple[str, str], str | None]:
    return {(row.group[SUBJECT], row.meter): row.quantity for row in rows}


def _counted(trace: Trace) -> dict[tuple[str, str], str | None]:
    return {
        (customer, meter): quantity
        for customer, count in trace.counts.items()
        for meter, quantity in _texts(count).items()
    }


def _texts(count: PlainCount) -> dict[str, str | None]:
    return {
        "requests": str(count.requests),
        "input_tokens": decimal_text(count.input_tokens),
        "output_tokens": decimal_text(count.output_tokens),
        "largest_prompt": None if count.largest_prompt is None else decimal_text(count.largest_prompt),
    }
