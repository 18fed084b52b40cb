"""A plan version between the value and its stored event."""

from decimal import Decimal

from meterlog.events.v1.catalogue_pb2 import PlanPrice, PlanTier, PlanVersionPublished
from services.kernel.money import currency
from services.kernel.quantity import decimal_text
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.rating.plan import ZERO, Charge, ChargeModel, Plan, Price, PublishedPlan, Tier


def to_event(published: PublishedPlan) -> PlanVersionPublished:
    """The event that states the version."""
    return PlanVersionPublished(
        key=published.plan.key,
        version=published.version,
        display_name=published.plan.display_name,
        currency=published.plan.currency.code,
        prices=[_stored_price(price) for price in published.plan.prices],
        published_at=to_timestamp(published.published_at),
    )


def from_event(event: PlanVersionPublished) -> PublishedPlan:
    """The version that the event states."""
    prices = tuple(_price(stored) for stored in event.prices)
    plan = Plan(event.key, event.display_name, currency(event.currency), prices)
    return PublishedPlan(plan, event.version, from_timestamp(event.published_at))


def _stored_price(price: Price) -> PlanPrice:
    charge = price.charge
    return PlanPrice(
        key=price.key,
        description=price.description,
        meter=price.meter,
        charge_model=charge.model,
        amount="" if charge.tiers else decimal_text(charge.amount),
        package_size=decimal_text(charge.package_size) if charge.package_size else "",
        tiers=[_stored_tier(tier) for tier in charge.tiers],
    )


def _stored_tier(tier: Tier) -> PlanTier:
    return PlanTier(
        up_to="" if tier.up_to is None else decimal_text(tier.up_to),
        unit_amount=decimal_text(tier.unit_amount),
        flat_amount=decimal_text(tier.flat_amount) if tier.flat_amount else "",
    )


def _price(stored: PlanPrice) -> Price:
    charge = Charge(
        model=ChargeModel(stored.charge_model),
        amount=_number(stored.amount),
        package_size=_number(stored.package_size),
        tiers=tuple(_tier(tier) for tier in stored.tiers),
    )
    return Price(stored.key, stored.description, stored.meter, charge)


def _tier(stored: PlanTier) -> Tier:
    up_to = Decimal(stored.up_to) if stored.up_to else None
    return Tier(up_to, Decimal(stored.unit_amount), _number(stored.flat_amount))


def _number(text: str) -> Decimal:
    return Decimal(text) if text else ZERO
