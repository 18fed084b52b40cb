"""A client that asks for usage while it changes, and keeps the answers for the checker."""

import random
import threading
from collections.abc import Sequence

import grpc

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from services.kernel.timestamp import to_timestamp
from tests.crash.metering.calls import CALL_TIMEOUT_S, NoAnswer, once
from tests.crash.metering.chances import BEGIN, END
from tests.crash.metering.ledger import Asked, Ledger

ANSWERS_MAX = 400
AS_OF_CHANCE = 0.4


class Observer(threading.Thread):
    """Asks any replica until told to stop: what there is now, as new as what was acknowledged; or what there was then.

    Its answers stand in the order of its questions.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        meters: Sequence[api.Meter],
        ledger: Ledger,
        seed: int,
        stop: threading.Event,
        pace_s: float,
    ) -> None:
        super().__init__(name="observer", daemon=True)
        self._addresses = addresses
        self._meters = meters
        self._ledger = ledger
        self._chance = random.Random(f"{seed}/observer")
        self._stopping = stop
        self._pace_s = pace_s

    def run(self) -> None:
        """One question after the other."""
        while len(self._ledger.asked) < ANSWERS_MAX and not self._stopping.wait(
            self._chance.uniform(0, 2 * self._pace_s)
        ):
            acknowledged = self._ledger.acknowledged_position
            meter = self._chance.choice(self._meters)
            is_as_of = self._chance.random() < AS_OF_CHANCE and acknowledged > 0
            try:
                asked = ask(
                    self._chance.choice(self._addresses),
                    meter,
                    self._ledger,
                    at_least=acknowledged,
                    as_of=self._chance.randrange(1, acknowledged + 1) if is_as_of else 0,
                )
            except NoAnswer:
                continue
            self._ledger.asked.append(asked)


def ask(
    address: str,
    meter: api.Meter,
    ledger: Ledger,
    *,
    at_least: int = 0,
    as_of: int = 0,
    window: "api.Window.ValueType" = api.WINDOW_NONE,
) -> Asked:
    """The answer to one question over all times, subjects and groups; raises NoAnswer.

    With a window, the first of the group's texts is the window's start.
    """
    request = api.QueryUsageRequest(
        meter=meter.slug,
        start_at=to_timestamp(BEGIN),
        end_at=to_timestamp(END),
        window=window,
        group_by=["subject", *meter.group_by],
        min_position=at_least,
        as_of=as_of,
    )
    with grpc.insecure_channel(address) as channel:
        stub = AggregatorServiceStub(channel)
        answer = once(lambda: stub.QueryUsage(request, timeout=CALL_TIMEOUT_S), ledger, f"query {meter.slug}")
    rows = {}
    for row in answer.rows:
        if row.HasField("value"):
            start = (row.start_at.ToJsonString(),) if window != api.WINDOW_NONE else ()
            rows[row.group["subject"], (*start, *(row.group[key] for key in meter.group_by))] = row.value
    return Asked(meter.slug, as_of or answer.position, bool(as_of), at_least, rows, address)
