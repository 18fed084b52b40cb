"""A plan from a request: every field checked once, and named by its path when it is wrong."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from meterlog.rating.v1 import rating_pb2
from services.kernel.errors import InvalidInput
from services.kernel.ids import KEY_RULE, require_identifier, require_key, require_slug
from services.kernel.money import currency
from services.kernel.quantity import parse_decimal
from services.rating.plan import PLAN_TIERS_MAX, PRICES_MAX, TIERS_MAX, ZERO, Charge, ChargeModel, Plan, Price, Tier


def parse_plan(message: rating_pb2.Plan, field: str) -> Plan:
    """The plan of a message; raises InvalidInput with a path such as "plan.prices[2].graduated.tiers[0].up_to"."""
    key = _key(message.key, f"{field}.key")
    unit = currency(message.currency, f"{field}.currency")
    _require_count(message.prices, PRICES_MAX, "price", f"{field}.prices")
    prices = tuple(_price(price, f"{field}.prices[{index}]") for index, price in enumerate(message.prices))
    _require_unique_keys(prices, f"{field}.prices")
    _require_few_tiers(prices, f"{field}.prices")
    return Plan(key, parse_name(message.display_name, key, f"{field}.display_name"), unit, prices)


def parse_name(text: str, default: str, field: str) -> str:
    """A name or text for people; `default` when it is empty."""
    return require_identifier(text, field) if text else default


def _price(message: rating_pb2.Price, field: str) -> Price:
    key = _key(message.key, f"{field}.key")
    model = message.WhichOneof("charge")
    if model is None:
        raise InvalidInput(f"{field}.charge is missing; set one charge model", field=f"{field}.charge")
    charge = _CHARGES[model](message, f"{field}.{model}")
    meter = _meter(message.meter, charge.model, f"{field}.meter")
    return Price(key, parse_name(message.description, key, f"{field}.description"), meter, charge)


def _meter(text: str, model: ChargeModel, field: str) -> str:
    if model is not ChargeModel.FLAT:
        return require_slug(text, field)
    if text:
        raise InvalidInput(f"{field} is set; a flat price has no meter, leave it empty", field=field)
    return ""


def _flat(message: rating_pb2.Price, field: str) -> Charge:
    return Charge(ChargeModel.FLAT, amount=_amount(message.flat.amount, f"{field}.amount"))


def _per_unit(message: rating_pb2.Price, field: str) -> Charge:
    return Charge(ChargeModel.PER_UNIT, amount=_amount(message.per_unit.unit_amount, f"{field}.unit_amount"))


def _graduated(message: rating_pb2.Price, field: str) -> Charge:
    return Charge(ChargeModel.GRADUATED, tiers=_tiers(message.graduated.tiers, f"{field}.tiers"))


def _volume(message: rating_pb2.Price, field: str) -> Charge:
    return Charge(ChargeModel.VOLUME, tiers=_tiers(message.volume.tiers, f"{field}.tiers"))


def _package(message: rating_pb2.Price, field: str) -> Charge:
    size = parse_decimal(message.package.package_size, f"{field}.package_size")
    if size <= ZERO:
        raise InvalidInput(f"{field}.package_size is {size}; it must be above zero", field=f"{field}.package_size")
    amount = _amount(message.package.package_amount, f"{field}.package_amount")
    return Charge(ChargeModel.PACKAGE, amount=amount, package_size=size)


_CHARGES: Mapping[str, Callable[[rating_pb2.Price, str], Charge]] = {
    "flat": _flat,
    "per_unit": _per_unit,
    "graduated": _graduated,
    "volume": _volume,
    "package": _package,
}


def _tiers(messages: Sequence[rating_pb2.Tier], field: str) -> tuple[Tier, ...]:
    _require_count(messages, TIERS_MAX, "tier", field)
    tiers = tuple(_tier(message, f"{field}[{index}]") for index, message in enumerate(messages))
    below = ZERO
    for index, tier in enumerate(tiers[:-1]):
        below = _require_rise(tier, below, f"{field}[{index}].up_to")
    if tiers[-1].up_to is not None:
        path = f"{field}[{len(tiers) - 1}].up_to"
        raise InvalidInput(
            f"{path} is set; leave it empty in the last tier, so that every quantity has a price",
            field=path,
            reason="LAST_TIER_HAS_A_BOUND",
        )
    return tiers


def _require_rise(tier: Tier, below: Decimal, field: str) -> Decimal:
    if tier.up_to is None:
        raise InvalidInput(f"{field} is empty; only the last tier has no bound", field=field, reason="BOUND_MISSING")
    if tier.up_to <= below:
        raise InvalidInput(
            f"{field} is {tier.up_to:f}; it must be above {below:f}, the bound before it, for tiers rise",
            field=field,
            reason="TIERS_DO_NOT_RISE",
        )
    return tier.up_to


def _tier(message: rating_pb2.Tier, field: str) -> Tier:
    return Tier(
        up_to=parse_decimal(message.up_to, f"{field}.up_to") if message.up_to else None,
        unit_amount=_amount(message.unit_amount, f"{field}.unit_amount"),
        flat_amount=_amount(message.flat_amount, f"{field}.flat_amount") if message.flat_amount else ZERO,
    )


def _amount(text: str, field: str) -> Decimal:
    amount = parse_decimal(text, field)
    if amount < ZERO:
        raise InvalidInput(f"{field} is {text}; an amount is not negative", field=field, reason="NEGATIVE_AMOUNT")
    return amount.copy_abs()


def _key(text: str, field: str) -> str:
    """A key that begins with a letter."""
    if not require_key(text, field)[0].isalpha():
        raise InvalidInput(
            f"{field} is {text!r}; use {KEY_RULE}, but first a letter", field=field, reason="BAD_IDENTIFIER"
        )
    return text


def _require_count(messages: Sequence[object], most: int, noun: str, field: str) -> None:
    if not 1 <= len(messages) <= most:
        raise InvalidInput(f"{field} has {len(messages)} {noun}s; give 1 to {most}", field=field)


def _require_unique_keys(prices: Sequence[Price], field: str) -> None:
    seen: set[str] = set()
    for index, price in enumerate(prices):
        if price.key in seen:
            path = f"{field}[{index}].key"
            raise InvalidInput(f'{path} is "{price.key}" again; each price needs its own', field=path)
        seen.add(price.key)


def _require_few_tiers(prices: Sequence[Price], field: str) -> None:
    count = sum(len(price.charge.tiers) for price in prices)
    if count > PLAN_TIERS_MAX:
        raise InvalidInput(f"{field} have {count} tiers together; a plan takes {PLAN_TIERS_MAX}", field=field)
