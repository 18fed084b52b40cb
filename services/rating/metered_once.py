"""Usage is billed once: subscriptions of one customer that bill at the same time price different meters. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from services.kernel.errors import RuleViolated
from services.rating.plan import Plan
from services.rating.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Priced:
    """A subscription and the plan version that it is billed by."""

    subscription: Subscription
    plan: Plan


def require_metered_once(plan: Plan, start_at: datetime, others: Iterable[Priced]) -> None:
    """Raise METER_ALREADY_BILLED when one of the customer's `others` bills a meter of `plan` at or after `start_at`.

    A subscription that begins has no end, so whatever is billed then or later is billed at the same time.
    """
    for other in others:
        shared = [meter for meter in plan.meters if meter in other.plan.meters]
        if shared and _bills_from(start_at, other.subscription):
            raise _already_billed(shared[0], other.subscription)


def _bills_from(instant: datetime, subscription: Subscription) -> bool:
    """Whether it bills any time from `instant` on; one that was cancelled before its start bills none at all."""
    return subscription.end_at is None or subscription.end_at > max(instant, subscription.start_at)


def _already_billed(meter: str, other: Subscription) -> RuleViolated:
    until = f"until {other.end_at.isoformat()}" if other.end_at else "without an end"
    return RuleViolated(
        f'subscription "{other.key}" bills the meter "{meter}" from {other.start_at.isoformat()} {until}; '
        "cancel it and start where it ends, or choose a plan without that meter",
        reason="METER_ALREADY_BILLED",
        metadata={"subscription": other.key, "meter": meter},
    )
