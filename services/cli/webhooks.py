"""The delivery log of webhooks, as the commands read it."""

from collections.abc import Iterable
from threading import Event
from typing import Final

from meterlog.notifier.v1 import notifier_pb2 as notifier
from services.cli.connection import Services
from services.cli.paging import PAGE_SIZE, every_page
from services.kernel.clock import monotonic_s

POLL_S: Final = 0.1


def delivered(services: Services, endpoint: str) -> list[notifier.Delivery]:
    """What the receiver of an endpoint has acknowledged."""

    def fetch(token: str) -> tuple[Iterable[notifier.Delivery], str]:
        request = notifier.ListDeliveriesRequest(
            endpoint=endpoint, state=notifier.DELIVERY_STATE_DELIVERED, page_size=PAGE_SIZE, page_token=token
        )
        response = services.notifier.call(services.webhooks.ListDeliveries, request)
        return response.deliveries, response.next_page_token

    return list(every_page(fetch))


def wait_until_delivered(services: Services, endpoint: str, message_type: str, count: int, timeout_s: float) -> int:
    """Wait until so many messages of a type are delivered; returns how many are, at the latest after the time."""
    deadline = monotonic_s() + timeout_s
    while True:
        found = sum(delivery.message_type == message_type for delivery in delivered(services, endpoint))
        if found >= count or monotonic_s() > deadline:
            return found
        Event().wait(POLL_S)
