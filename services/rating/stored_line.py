"""A line item in its stored form."""

from meterlog.events.v1.invoice_pb2 import InvoicedLine, LineExplanation
from services.kernel.money import Currency, amount_text
from services.kernel.quantity import decimal_text
from services.rating.charges.step import Step
from services.rating.rate import LineItem


def stored_line(line: LineItem, currency: Currency) -> InvoicedLine:
    """The line as it goes into the log, and to every reader: amounts with the currency's minor digits."""
    return InvoicedLine(
        price=line.price,
        description=line.description,
        meter=line.meter,
        quantity=decimal_text(line.quantity),
        amount=amount_text(line.amount, currency),
        explanations=[_explanation(step) for step in line.steps],
    )


def _explanation(step: Step) -> LineExplanation:
    return LineExplanation(
        description=step.description,
        quantity=decimal_text(step.quantity),
        unit_amount=decimal_text(step.unit_amount),
        amount=decimal_text(step.amount),
    )
