"""The five kinds of declared things: how each is read from its service, created and updated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

from google.protobuf.message import Message

from meterlog.aggregator.v1 import aggregator_pb2 as aggregator
from meterlog.notifier.v1 import notifier_pb2 as notifier
from meterlog.rating.v1 import rating_pb2 as rating
from services.cli.connection import Services
from services.cli.declared.difference import ChangeRule
from services.cli.meters import is_redefined, redefine_meter

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """`read` raises CallFailed (NOT_FOUND) for what is not there; `create` returns a secret to be shown, or "".

    `update` takes what is declared and what there is.
    """

    rule: ChangeRule
    read: Callable[[Services, str], M]
    create: Callable[[Services, M], str]
    update: Callable[[Services, M, M], None]
    request_field: str


def _read_meter(services: Services, slug: str) -> aggregator.Meter:
    return services.aggregator.call(services.meters.GetMeter, aggregator.GetMeterRequest(slug=slug)).meter


def _create_meter(services: Services, meter: aggregator.Meter) -> str:
    services.aggregator.call(services.meters.CreateMeter, aggregator.CreateMeterRequest(meter=meter))
    return ""


def _update_meter(services: Services, meter: aggregator.Meter, current: aggregator.Meter) -> None:
    """Texts for people are updated; what it counts is redefined, from `effective_from` on, else always."""
    if (meter.display_name or meter.slug, meter.unit) != (current.display_name, current.unit):
        request = aggregator.UpdateMeterRequest(
            slug=meter.slug, display_name=meter.display_name or meter.slug, unit=meter.unit
        )
        services.aggregator.call(services.meters.UpdateMeter, request)
    if is_redefined(meter, current):
        redefine_meter(services, meter, current.version)


def _read_customer(services: Services, key: str) -> rating.Customer:
    return services.rating.call(services.billing.GetCustomer, rating.GetCustomerRequest(key=key)).customer


def _create_customer(services: Services, customer: rating.Customer) -> str:
    services.rating.call(services.billing.CreateCustomer, rating.CreateCustomerRequest(customer=customer))
    return ""


def _update_customer(services: Services, customer: rating.Customer, _current: rating.Customer) -> None:
    request = rating.UpdateCustomerRequest(key=customer.key, display_name=customer.display_name or customer.key)
    services.rating.call(services.billing.UpdateCustomer, request)


def _read_plan(services: Services, key: str) -> rating.Plan:
    return services.rating.call(services.billing.GetPlan, rating.GetPlanRequest(key=key)).plan


def _create_plan(services: Services, plan: rating.Plan) -> str:
    services.rating.call(services.billing.CreatePlan, rating.CreatePlanRequest(plan=plan))
    return ""


def _update_plan(services: Services, plan: rating.Plan, _current: rating.Plan) -> None:
    services.rating.call(services.billing.PublishPlanVersion, rating.PublishPlanVersionRequest(plan=plan))


def _read_subscription(services: Services, key: str) -> rating.Subscription:
    request = rating.GetSubscriptionRequest(key=key)
    return services.rating.call(services.billing.GetSubscription, request).subscription


def _create_subscription(services: Services, subscription: rating.Subscription) -> str:
    request = rating.CreateSubscriptionRequest(subscription=subscription)
    services.rating.call(services.billing.CreateSubscription, request)
    return ""


def _read_endpoint(services: Services, key: str) -> notifier.Endpoint:
    return services.notifier.call(services.webhooks.GetEndpoint, notifier.GetEndpointRequest(key=key)).endpoint


def _create_endpoint(services: Services, endpoint: notifier.Endpoint) -> str:
    request = notifier.CreateEndpointRequest(endpoint=endpoint)
    return services.notifier.call(services.webhooks.CreateEndpoint, request).secret


def _never(_services: Services, message: Message, _current: Message) -> None:
    raise AssertionError(f"{type(message).__name__} has no field that can change")


METER: Final = Kind(
    ChangeRule(None, ""),
    _read_meter,
    _create_meter,
    _update_meter,
    "meter",
)
CUSTOMER: Final = Kind(
    ChangeRule(frozenset({"display_name"}), "a customer keeps currency and time zone for life"),
    _read_customer,
    _create_customer,
    _update_customer,
    "customer",
)
PLAN: Final = Kind(
    ChangeRule(None, ""),
    _read_plan,
    _create_plan,
    _update_plan,
    "plan",
)
SUBSCRIPTION: Final = Kind(
    ChangeRule(frozenset(), "cancel it and declare one under another key"),
    _read_subscription,
    _create_subscription,
    _never,
    "subscription",
)
ENDPOINT: Final = Kind(
    ChangeRule(frozenset(), "delete it and declare one under another key"),
    _read_endpoint,
    _create_endpoint,
    _never,
    "endpoint",
)

KINDS: Final = {
    "meter": cast(Kind[Message], METER),
    "customer": cast(Kind[Message], CUSTOMER),
    "plan": cast(Kind[Message], PLAN),
    "subscription": cast(Kind[Message], SUBSCRIPTION),
    "endpoint": cast(Kind[Message], ENDPOINT),
}
