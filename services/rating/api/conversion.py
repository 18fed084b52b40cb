"""Values as API messages."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.events.v1.invoice_pb2 import InvoicedLine
from meterlog.rating.v1 import rating_pb2
from services.kernel.quantity import decimal_text
from services.kernel.timestamp import to_timestamp
from services.rating.customer import Customer
from services.rating.plan import Charge, ChargeModel, Price, PublishedPlan, Tier
from services.rating.readmodel.invoices import InvoiceRecord
from services.rating.subscription import Subscription


def customer_message(customer: Customer) -> rating_pb2.Customer:
    """A customer."""
    return rating_pb2.Customer(
        key=customer.key,
        display_name=customer.display_name,
        currency=customer.currency,
        time_zone=customer.time_zone,
        created_at=to_timestamp(customer.created_at),
    )


def plan_message(published: PublishedPlan) -> rating_pb2.Plan:
    """A version of a plan."""
    return rating_pb2.Plan(
        key=published.plan.key,
        version=published.version,
        display_name=published.plan.display_name,
        currency=published.plan.currency.code,
        prices=[_price(price) for price in published.plan.prices],
        published_at=to_timestamp(published.published_at),
    )


def subscription_message(subscription: Subscription) -> rating_pb2.Subscription:
    """A subscription; `end_at` is absent while it runs."""
    return rating_pb2.Subscription(
        key=subscription.key,
        customer=subscription.customer,
        plan=subscription.plan,
        plan_version=subscription.plan_version,
        start_at=to_timestamp(subscription.start_at),
        end_at=_optional(subscription.end_at),
        created_at=to_timestamp(subscription.created_at),
    )


def invoice_message(record: InvoiceRecord) -> rating_pb2.Invoice:
    """An invoice with the lines and total that the record has."""
    invoice = record.invoice
    return rating_pb2.Invoice(
        id=invoice.id,
        number=invoice.number,
        state=rating_pb2.INVOICE_STATE_FINALIZED if invoice.is_final else rating_pb2.INVOICE_STATE_DRAFT,
        customer=invoice.customer,
        subscription=invoice.subscription,
        plan=invoice.plan,
        plan_version=invoice.plan_version,
        currency=invoice.currency,
        period_start_at=to_timestamp(invoice.period.start),
        period_end_at=to_timestamp(invoice.period.end),
        lines=[_line(line) for line in record.lines],
        total=record.total,
        usage_position=record.usage_position,
        finalized_at=_optional(record.finalized_at),
    )


def _line(line: InvoicedLine) -> rating_pb2.LineItem:
    return rating_pb2.LineItem(
        price=line.price,
        description=line.description,
        meter=line.meter,
        quantity=line.quantity,
        amount=line.amount,
        steps=[
            rating_pb2.LineItemStep(
                description=step.description, quantity=step.quantity, unit_amount=step.unit_amount, amount=step.amount
            )
            for step in line.explanations
        ],
    )


def _price(price: Price) -> rating_pb2.Price:
    message = rating_pb2.Price(key=price.key, description=price.description, meter=price.meter)
    charge = price.charge
    match charge.model:
        case ChargeModel.FLAT:
            message.flat.amount = decimal_text(charge.amount)
        case ChargeModel.PER_UNIT:
            message.per_unit.unit_amount = decimal_text(charge.amount)
        case ChargeModel.GRADUATED:
            message.graduated.tiers.extend(_tiers(charge))
        case ChargeModel.VOLUME:
            message.volume.tiers.extend(_tiers(charge))
        case ChargeModel.PACKAGE:
            message.package.package_size = decimal_text(charge.package_size)
            message.package.package_amount = decimal_text(charge.amount)
    return message


def _tiers(charge: Charge) -> list[rating_pb2.Tier]:
    return [_tier(tier) for tier in charge.tiers]


def _tier(tier: Tier) -> rating_pb2.Tier:
    return rating_pb2.Tier(
        up_to="" if tier.up_to is None else decimal_text(tier.up_to),
        unit_amount=decimal_text(tier.unit_amount),
        flat_amount=decimal_text(tier.flat_amount),
    )


def _optional(instant: datetime | None) -> Timestamp | None:
    return None if instant is None else to_timestamp(instant)
