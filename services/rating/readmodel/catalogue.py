"""Reads customers, plans and subscriptions. Lists go by key; `after` is the key of the last row seen."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, func, select

from meterlog.events.v1.catalogue_pb2 import PlanVersionPublished
from services.kernel.clock import from_epoch_us
from services.rating.customer import Customer
from services.rating.metered_once import Priced
from services.rating.plan import PublishedPlan
from services.rating.readmodel.tables import BillingTables
from services.rating.stored_plan import from_event
from services.rating.subscription import Subscription


def find_customer(connection: Connection, tables: BillingTables, key: str) -> Customer | None:
    """The customer with this key."""
    row = connection.execute(select(tables.customers).where(tables.customers.c.key == key)).first()
    return _customer(row) if row else None


def list_customers(connection: Connection, tables: BillingTables, after: str, limit: int) -> Iterator[Customer]:
    """Up to `limit` customers behind the key `after`."""
    customers = tables.customers
    query = select(customers).where(customers.c.key > after).order_by(customers.c.key).limit(limit)
    return map(_customer, connection.execute(query))


def find_plan(connection: Connection, tables: BillingTables, key: str, version: int) -> PublishedPlan | None:
    """The plan's version, 0 for the newest."""
    plans = tables.plans
    query = select(plans.c.content).where(plans.c.key == key).order_by(plans.c.version.desc()).limit(1)
    if version:
        query = query.where(plans.c.version == version)
    row = connection.execute(query).first()
    return _plan(row) if row else None


def list_plans(connection: Connection, tables: BillingTables, after: str, limit: int) -> Iterator[PublishedPlan]:
    """Up to `limit` plans behind the key `after`, each in its newest version."""
    plans = tables.plans
    newest = select(plans.c.key, func.max(plans.c.version).label("version")).group_by(plans.c.key).subquery()
    query = (
        select(plans.c.content)
        .join(newest, (plans.c.key == newest.c.key) & (plans.c.version == newest.c.version))
        .where(plans.c.key > after)
        .order_by(plans.c.key)
        .limit(limit)
    )
    return map(_plan, connection.execute(query))


def find_subscription(connection: Connection, tables: BillingTables, key: str) -> Subscription | None:
    """The subscription with this key."""
    row = connection.execute(select(tables.subscriptions).where(tables.subscriptions.c.key == key)).first()
    return subscription_of(row) if row else None


def list_subscriptions(
    connection: Connection, tables: BillingTables, customer: str, after: str, limit: int
) -> Iterator[Subscription]:
    """Up to `limit` subscriptions behind the key `after`, of one customer or, with an empty key, of all."""
    subscriptions = tables.subscriptions
    query = select(subscriptions).where(subscriptions.c.key > after).order_by(subscriptions.c.key).limit(limit)
    if customer:
        query = query.where(subscriptions.c.customer == customer)
    return map(subscription_of, connection.execute(query))


def priced_subscriptions(connection: Connection, tables: BillingTables, customer: str) -> Iterator[Priced]:
    """Every subscription of a customer, by key, with the plan version that it is billed by."""
    subscriptions, plans = tables.subscriptions, tables.plans
    query = (
        select(subscriptions, plans.c.content)
        .join(plans, (plans.c.key == subscriptions.c.plan) & (plans.c.version == subscriptions.c.plan_version))
        .where(subscriptions.c.customer == customer)
        .order_by(subscriptions.c.key)
    )
    return (Priced(subscription_of(row), _plan(row).plan) for row in connection.execute(query))


def subscription_of(row: Row[Any]) -> Subscription:
    """The subscription in a row of its table."""
    return Subscription(
        key=row.key,
        customer=row.customer,
        plan=row.plan,
        plan_version=row.plan_version,
        start_at=from_epoch_us(row.start_at_us),
        end_at=None if row.end_at_us is None else from_epoch_us(row.end_at_us),
        created_at=from_epoch_us(row.created_at_us),
    )


def _customer(row: Row[Any]) -> Customer:
    return Customer(row.key, row.display_name, row.currency, row.time_zone, from_epoch_us(row.created_at_us))


def _plan(row: Row[Any]) -> PublishedPlan:
    return from_event(PlanVersionPublished.FromString(row.content))
