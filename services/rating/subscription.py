"""The rules of a subscription. Stream: subscription-<key>."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from meterlog.events.v1.catalogue_pb2 import SubscriptionCancelled, SubscriptionStarted
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound
from services.kernel.timestamp import from_timestamp, to_timestamp
from services.rating.billing_period import end_when_cancelled

CATEGORY = "subscription"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer's use of a plan version from `start_at` on; without `end_at` for ever."""

    key: str
    customer: str
    plan: str
    plan_version: int
    start_at: datetime
    end_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StartSubscription:
    """Subscribe a customer to a plan version; a repeat with equal content does nothing.

    `is_newest_wanted` tells that the caller named no version, so that a repeat is one whatever was published since.
    """

    key: str
    customer: str
    plan: str
    plan_version: int
    is_newest_wanted: bool
    start_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class CancelSubscription:
    """End a subscription with the billing period that holds `at`; a repeat keeps the first end."""

    key: str
    zone: ZoneInfo
    at: datetime


SubscriptionCommand: TypeAlias = StartSubscription | CancelSubscription
SubscriptionEvent: TypeAlias = SubscriptionStarted | SubscriptionCancelled
SubscriptionState: TypeAlias = Subscription | None


def subscription_stream(key: str) -> StreamName:
    """The stream of the subscription with this key."""
    return StreamName(CATEGORY, key)


def no_subscription(key: str) -> NotFound:
    """The refusal of a key that no subscription has."""
    return NotFound(f'no subscription "{key}"; create it or check the key', reason="SUBSCRIPTION_NOT_FOUND")


def decide(command: SubscriptionCommand, state: SubscriptionState) -> list[SubscriptionEvent]:
    """The events of a command; raises AlreadyExists or NotFound."""
    match command:
        case StartSubscription():
            return _start(command, state)
        case CancelSubscription():
            return _cancel(command, state)


def evolve(state: SubscriptionState, event: SubscriptionEvent) -> SubscriptionState:
    """The subscription after an event."""
    if isinstance(event, SubscriptionStarted):
        return Subscription(
            key=event.key,
            customer=event.customer,
            plan=event.plan,
            plan_version=event.plan_version,
            start_at=from_timestamp(event.start_at),
            end_at=None,
            created_at=from_timestamp(event.created_at),
        )
    assert state is not None
    return replace(state, end_at=from_timestamp(event.end_at))


subscription: Decider[SubscriptionCommand, SubscriptionState, SubscriptionEvent] = Decider(None, decide, evolve)


def _start(command: StartSubscription, state: SubscriptionState) -> list[SubscriptionEvent]:
    if state is None:
        return [
            SubscriptionStarted(
                key=command.key,
                customer=command.customer,
                plan=command.plan,
                plan_version=command.plan_version,
                start_at=to_timestamp(command.start_at),
                created_at=to_timestamp(command.at),
            )
        ]
    if not _is_repeat(command, state):
        raise AlreadyExists(
            f'subscription "{command.key}" exists with other content; choose another key', reason="SUBSCRIPTION_EXISTS"
        )
    return []


def _is_repeat(command: StartSubscription, state: Subscription) -> bool:
    is_same_version = command.is_newest_wanted or command.plan_version == state.plan_version
    wanted = (command.customer, command.plan, command.start_at)
    return is_same_version and wanted == (state.customer, state.plan, state.start_at)


def _cancel(command: CancelSubscription, state: SubscriptionState) -> list[SubscriptionEvent]:
    if state is None:
        raise no_subscription(command.key)
    if state.end_at is not None:
        return []
    end_at = end_when_cancelled(state.start_at, command.zone, command.at)
    return [SubscriptionCancelled(key=state.key, end_at=to_timestamp(end_at), cancelled_at=to_timestamp(command.at))]
