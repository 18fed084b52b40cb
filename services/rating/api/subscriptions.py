"""Requests about subscriptions."""

from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.rating.v1 import rating_pb2
from services.kernel.calendar import time_zone
from services.kernel.clock import monotonic_s
from services.kernel.errors import InvalidInput, RuleViolated
from services.kernel.ids import new_uuid, require_key
from services.kernel.timestamp import from_timestamp, is_in_range
from services.rating.api.conversion import subscription_message
from services.rating.api.page import fitting, key_after
from services.rating.billing_period import require_month_start
from services.rating.customer import Customer, customer, customer_stream, no_customer
from services.rating.desk import Desk
from services.rating.metered_once import Priced, require_metered_once
from services.rating.plan import Plan, PublishedPlan
from services.rating.plan_stream import plan_stream, plan_versions, version_of
from services.rating.readmodel.catalogue import find_subscription, list_subscriptions, priced_subscriptions
from services.rating.subscription import (
    CancelSubscription,
    StartSubscription,
    SubscriptionState,
    no_subscription,
    subscription,
    subscription_stream,
)
from services.rating.turn import Turn
from services.rpc.pages import encode_token, page_size


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Starts, shows and ends subscriptions."""

    desk: Desk
    turn: Turn = field(default_factory=Turn)

    def create(
        self, request: rating_pb2.CreateSubscriptionRequest, timeout_s: float
    ) -> rating_pb2.CreateSubscriptionResponse:
        """Subscribe a customer to a plan version, once."""
        command, plan = self._start(request.subscription)
        started = self._run(command, plan, timeout_s)
        assert started is not None
        return rating_pb2.CreateSubscriptionResponse(subscription=subscription_message(started))

    def get(self, request: rating_pb2.GetSubscriptionRequest) -> rating_pb2.GetSubscriptionResponse:
        """Show one subscription."""
        with self.desk.books.read() as (connection, tables):
            found = find_subscription(connection, tables, request.key)
        if found is None:
            raise no_subscription(request.key)
        return rating_pb2.GetSubscriptionResponse(subscription=subscription_message(found))

    def list(self, request: rating_pb2.ListSubscriptionsRequest) -> rating_pb2.ListSubscriptionsResponse:
        """Show subscriptions by key."""
        size, after = page_size(request.page_size), key_after(request.page_token)
        with self.desk.books.read() as (connection, tables):
            found = list_subscriptions(connection, tables, request.customer, after, size + 1)
            page, has_more = fitting(map(subscription_message, found), size)
        token = encode_token(page[-1].key) if has_more else ""
        return rating_pb2.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    def cancel(
        self, request: rating_pb2.CancelSubscriptionRequest, timeout_s: float
    ) -> rating_pb2.CancelSubscriptionResponse:
        """End a subscription with the billing period in which the clock stands."""
        stream = subscription_stream(require_key(request.key, "key"))
        running = self.desk.load(subscription, stream)
        if running is None:
            raise no_subscription(request.key)
        zone = time_zone(self._customer(running.customer).time_zone)
        cancelled = self.desk.run(
            subscription, stream, CancelSubscription(running.key, zone, self.desk.now()), timeout_s
        )
        assert cancelled is not None
        return rating_pb2.CancelSubscriptionResponse(subscription=subscription_message(cancelled))

    def _run(self, command: StartSubscription, plan: Plan, timeout_s: float) -> SubscriptionState:
        """One caller after the other, so that each decides on all that were started before; a repeat is no start."""
        stream, deadline_s = subscription_stream(command.key), monotonic_s() + timeout_s
        with self.turn.taken(timeout_s):
            if subscription.decide(command, self.desk.load(subscription, stream)):
                self.desk.settle(None, deadline_s - monotonic_s())
                require_metered_once(plan, command.start_at, self._subscriptions_of(command.customer))
            return self.desk.run(subscription, stream, command, deadline_s - monotonic_s())

    def _subscriptions_of(self, customer_key: str) -> tuple[Priced, ...]:
        with self.desk.books.read() as (connection, tables):
            return tuple(priced_subscriptions(connection, tables, customer_key))

    def _start(self, wanted: rating_pb2.Subscription) -> tuple[StartSubscription, Plan]:
        now = self.desk.now()
        key = require_key(wanted.key, "subscription.key") if wanted.key else str(new_uuid(now))
        subscriber = self._customer(wanted.customer)
        published = self._plan(wanted.plan, wanted.plan_version)
        _require_one_currency(subscriber, published)
        command = StartSubscription(
            key=key,
            customer=subscriber.key,
            plan=published.plan.key,
            plan_version=published.version,
            is_newest_wanted=wanted.plan_version == 0,
            start_at=_start_at(wanted, subscriber),
            at=now,
        )
        return command, published.plan

    def _customer(self, key: str) -> Customer:
        if not key:
            raise InvalidInput("subscription.customer is empty; name a customer's key", field="subscription.customer")
        found = self.desk.load(customer, customer_stream(key))
        if found is None:
            raise no_customer(key)
        return found

    def _plan(self, key: str, version: int) -> PublishedPlan:
        if not key:
            raise InvalidInput("subscription.plan is empty; name a plan's key", field="subscription.plan")
        return version_of(self.desk.load(plan_versions, plan_stream(key)), key, version)


def _start_at(wanted: rating_pb2.Subscription, subscriber: Customer) -> datetime:
    path = "subscription.start_at"
    start_at = _instant(wanted.start_at if wanted.HasField("start_at") else None, path)
    return require_month_start(start_at, time_zone(subscriber.time_zone), path)


def _instant(timestamp: Timestamp | None, field: str) -> datetime:
    if timestamp is None or not is_in_range(timestamp):
        raise InvalidInput(f"{field} is missing or outside the years 1 to 9999; give an instant", field=field)
    return from_timestamp(timestamp)


def _require_one_currency(subscriber: Customer, published: PublishedPlan) -> None:
    plan = published.plan
    if subscriber.currency != plan.currency.code:
        raise RuleViolated(
            f'plan "{plan.key}" is in {plan.currency.code}, customer "{subscriber.key}" is invoiced in '
            f"{subscriber.currency}; choose a plan in that currency",
            reason="CURRENCY_DIFFERS",
        )
