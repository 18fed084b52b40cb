"""The rules of a customer. Stream: customer-<key>."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from meterlog.events.v1.catalogue_pb2 import CustomerCreated, CustomerUpdated
from services.eventstore.decider import Decider
from services.eventstore.event import StreamName
from services.kernel.errors import AlreadyExists, NotFound
from services.kernel.timestamp import from_timestamp, to_timestamp

CATEGORY = "customer"


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays. Currency and time zone never change, so that billing periods never move."""

    key: str
    display_name: str
    currency: str
    time_zone: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CreateCustomer:
    """Create a customer; a repeat with equal content does nothing."""

    key: str
    display_name: str
    currency: str
    time_zone: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RenameCustomer:
    """Give a customer another name for people; a repeat does nothing. No name keeps the old one."""

    key: str
    display_name: str | None
    at: datetime


CustomerCommand: TypeAlias = CreateCustomer | RenameCustomer
CustomerEvent: TypeAlias = CustomerCreated | CustomerUpdated
CustomerState: TypeAlias = Customer | None


def customer_stream(key: str) -> StreamName:
    """The stream of the customer with this key."""
    return StreamName(CATEGORY, key)


def no_customer(key: str) -> NotFound:
    """The refusal of a key that nobody has."""
    return NotFound(f'no customer "{key}"; create it or check the key', reason="CUSTOMER_NOT_FOUND")


def decide(command: CustomerCommand, state: CustomerState) -> list[CustomerEvent]:
    """The events of a command; raises AlreadyExists or NotFound."""
    match command:
        case CreateCustomer():
            return _create(command, state)
        case RenameCustomer():
            return _rename(command, state)


def evolve(state: CustomerState, event: CustomerEvent) -> CustomerState:
    """The customer after an event."""
    if isinstance(event, CustomerCreated):
        created_at = from_timestamp(event.created_at)
        return Customer(event.key, event.display_name, event.currency, event.time_zone, created_at)
    assert state is not None
    return replace(state, display_name=event.display_name)


customer: Decider[CustomerCommand, CustomerState, CustomerEvent] = Decider(None, decide, evolve)


def _create(command: CreateCustomer, state: CustomerState) -> list[CustomerEvent]:
    wanted = Customer(command.key, command.display_name, command.currency, command.time_zone, command.at)
    if state is None:
        return [
            CustomerCreated(
                key=wanted.key,
                display_name=wanted.display_name,
                currency=wanted.currency,
                time_zone=wanted.time_zone,
                created_at=to_timestamp(wanted.created_at),
            )
        ]
    if replace(wanted, created_at=state.created_at) != state:
        raise AlreadyExists(
            f'customer "{command.key}" exists with other content; update it or choose another key',
            reason="CUSTOMER_EXISTS",
        )
    return []


def _rename(command: RenameCustomer, state: CustomerState) -> list[CustomerEvent]:
    if state is None:
        raise no_customer(command.key)
    if command.display_name in (None, state.display_name):
        return []
    updated_at = to_timestamp(command.at)
    return [CustomerUpdated(key=state.key, display_name=command.display_name, updated_at=updated_at)]
