"""A client that decides: meters, corrections, backfills, rebuilds, one after the other, each until answered."""

import random
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1 import correction_pb2 as corrections
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from meterlog.aggregator.v1.correction_pb2_grpc import CorrectionServiceStub
from meterlog.common.v1 import projection_pb2 as projections
from meterlog.common.v1.projection_pb2_grpc import ProjectionServiceStub
from services.kernel.timestamp import to_timestamp
from tests.crash.metering.calls import CALL_TIMEOUT_S, has_reason, of_leader, until_answered
from tests.crash.metering.chances import BEGIN, DAYS, END, HOURS, REGIONS, SUBJECTS, usage_event
from tests.crash.metering.doors import rows
from tests.crash.metering.ledger import Ledger, Told

NAMED_MAX = 5
LOADED = 15
REASON = "storm"
REBUILD_TIMEOUT_S = 30.0
HELD = "REBUILDS_HELD"

METERS = (
    api.Meter(slug="calls", event_type="call", aggregation=api.AGGREGATION_COUNT),
    api.Meter(slug="amount", event_type="call", aggregation=api.AGGREGATION_SUM, group_by=["region"]),
    api.Meter(
        slug="sizes", event_type="call", aggregation=api.AGGREGATION_SUM, value_property="size", group_by=["region"]
    ),
    api.Meter(slug="biggest", event_type="call", aggregation=api.AGGREGATION_MAX, group_by=["region"]),
    api.Meter(slug="mean", event_type="store", aggregation=api.AGGREGATION_AVG),
    api.Meter(slug="latest", event_type="store", aggregation=api.AGGREGATION_LAST, group_by=["region"]),
    api.Meter(slug="kinds", event_type="call", aggregation=api.AGGREGATION_UNIQUE_COUNT, value_property="size"),
    api.Meter(slug="p95", event_type="call", aggregation=api.AGGREGATION_PERCENTILE, percentile="95"),
)


class Desk(threading.Thread):
    """Decides until told to stop. It is the only one who does, so what it has previewed stays as it was."""

    def __init__(
        self, addresses: tuple[str, Sequence[str]], ledger: Ledger, seed: int, stop: threading.Event, pace_s: float
    ) -> None:
        """`addresses` of ingest and of the aggregators, any of which is asked."""
        super().__init__(name="desk", daemon=True)
        self._ingest, self._aggregators = addresses
        self._ledger = ledger
        self._chance = random.Random(f"{seed}/desk")
        self._stopping = stop
        self._pace_s = pace_s
        self._number = 0
        self._standing: list[str] = []
        self._versions = {"sizes": 1, "amount": 1}
        self.done: dict[str, int] = {}

    def run(self) -> None:
        """One decision after the other: each kind once, then by chance."""
        works: tuple[tuple[Callable[[], object], int], ...] = (
            (self._cancel_by_filter, 4),
            (self._cancel_by_name, 3),
            (self._amend, 4),
            (self._revert, 4),
            (self._backfill, 3),
            (self._create_meter, 1),
            (self._redefine_meter, 2),
            (self._rebuild, 6),
        )
        for meter in METERS:
            self._create(meter)
        first = [each for each, _ in works]
        while not self._stopping.wait(self._chance.uniform(0, 2 * self._pace_s)):
            (by_chance,) = self._chance.choices([each for each, _ in works], [weight for _, weight in works])
            work = first.pop(0) if first else by_chance
            if work():
                name = work.__name__.removeprefix("_")
                self.done[name] = self.done.get(name, 0) + 1

    def _create(self, meter: api.Meter) -> object:
        request = api.CreateMeterRequest(meter=meter)
        return self._decided("meter", meter.slug, lambda channel: AggregatorServiceStub(channel).CreateMeter, request)

    def _create_meter(self) -> object:
        """A meter that counts all that was recorded before it."""
        slug = f"late_{self._next()}"
        return self._create(
            api.Meter(slug=slug, event_type="store", aggregation=api.AGGREGATION_SUM, group_by=["region"])
        )

    def _redefine_meter(self) -> object:
        """Another filter, always or from some hour on."""
        meter = self._chance.choice([meter for meter in METERS if meter.slug in self._versions])
        version = self._versions[meter.slug]
        other = api.Meter()
        other.CopyFrom(meter)
        if version % 2:
            region = self._chance.choice(["eu", "us"])
            other.filters.add(property="region", operator=api.CONDITION_OPERATOR_EQUALS, values=[region])
        request = api.RedefineMeterRequest(slug=meter.slug, meter=other, expected_version=version)
        if self._chance.random() < 0.5:
            hour = self._chance.choice(DAYS) + timedelta(hours=self._chance.randrange(HOURS))
            request.effective_from.CopyFrom(to_timestamp(hour))
        kind = "redefined"
        key = f"{meter.slug}/{version + 1}"
        answer = self._decided(kind, key, lambda channel: AggregatorServiceStub(channel).RedefineMeter, request)
        if answer is not None:
            self._versions[meter.slug] = version + 1
        return answer

    def _cancel_by_filter(self) -> object:
        chooser = self._filter()
        preview = self._asked(
            lambda channel: CorrectionServiceStub(channel).PreviewCancellation,
            corrections.PreviewCancellationRequest(filter=chooser),
        )
        if preview is None or not preview.usage_event_count:
            return None
        return self._correct(
            lambda channel: CorrectionServiceStub(channel).CancelUsage,
            corrections.CancelUsageRequest(
                key=f"c{self._next()}",
                filter=chooser,
                expected_count=preview.usage_event_count,
                until_position=preview.position,
                reason=REASON,
            ),
        )

    def _cancel_by_name(self) -> object:
        names = self._names(self._chance.randrange(1, NAMED_MAX))
        if not names:
            return None
        request = corrections.CancelUsageRequest(key=f"n{self._next()}", names=names, reason=REASON)
        return self._correct(lambda channel: CorrectionServiceStub(channel).CancelUsage, request)

    def _amend(self) -> object:
        names = self._names(1)
        if not names:
            return None
        request = corrections.AmendUsageRequest(key=f"a{self._next()}", name=names[0], reason=REASON)
        if self._chance.random() < 0.7:
            request.value = str(self._chance.randrange(1_000))
        else:
            request.properties.properties["region"] = self._chance.choice(["eu", "us"])
        return self._correct(lambda channel: CorrectionServiceStub(channel).AmendUsage, request)

    def _revert(self) -> object:
        if not self._standing:
            return None
        key = self._standing.pop(self._chance.randrange(len(self._standing)))
        request = corrections.RevertCorrectionRequest(key=key, reason=REASON)
        return self._decided("reverted", key, lambda channel: CorrectionServiceStub(channel).RevertCorrection, request)

    def _backfill(self) -> object:
        """Opened, loaded, closed, and sometimes reverted."""
        key = f"b{self._next()}"
        request = corrections.OpenBackfillRequest(key=key, replaces_existing=self._chance.random() < 0.5, reason=REASON)
        chooser = self._filter()
        request.start_at.CopyFrom(chooser.start_at if chooser.HasField("start_at") else to_timestamp(BEGIN))
        request.end_at.CopyFrom(chooser.end_at if chooser.HasField("end_at") else to_timestamp(END))
        request.subjects.extend(chooser.subjects or SUBJECTS[:1])
        opened = self._decided("opened", key, lambda channel: CorrectionServiceStub(channel).OpenBackfill, request)
        if opened is None or not self._load(key):
            return None
        close = corrections.CloseBackfillRequest(key=key, expected_count=LOADED, reason=REASON)
        closed = self._decided("closed", key, lambda channel: CorrectionServiceStub(channel).CloseBackfill, close)
        if closed is None or self._chance.random() < 0.5:
            return closed
        drop = corrections.RevertBackfillRequest(key=key, reason=REASON)
        return self._decided("dropped", key, lambda channel: CorrectionServiceStub(channel).RevertBackfill, drop)

    def _load(self, key: str) -> bool:
        usage = [(("loader", f"{key}-{row}"), usage_event(self._chance)) for row in range(LOADED)]
        names = [(f"backfill/{key}/{source}", name) for (source, name), _ in usage]
        self._ledger.send((name, event) for name, (_, event) in zip(names, usage, strict=True))
        with grpc.insecure_channel(self._ingest) as channel:
            answer = until_answered(lambda: rows(channel, usage, key), self._ledger, f"load {key}", self._stopping)
        if answer is None:
            return False
        self._ledger.tell([Told(name, *each) for name, each in zip(names, answer[0], strict=True)], answer[1])
        return True

    def _rebuild(self) -> object:
        """Built anew beside the live one, under load; the rebuilt one takes over when it is equal, and it must be."""
        name, addresses = self._chance.choice(
            [
                ("usage_windows", self._aggregators),
                ("usage_periods", self._aggregators),
                ("usage_dedupe", (self._ingest,)),
            ]
        )
        comparison = rebuilt(name, addresses, self._ledger, self._stopping, projections.REBUILD_MODE_SWAP_WHEN_EQUAL)
        if comparison is not None and not comparison.equal:
            self._ledger.complain(f"{name} differs from a rebuilt one at {comparison.position}: {comparison}")
        return comparison

    def _filter(self) -> corrections.UsageFilter:
        """Of one subject, perhaps one type, some hours, one region: not too much of all."""
        chooser = corrections.UsageFilter(subjects=[self._chance.choice(SUBJECTS)])
        if self._chance.random() < 0.5:
            chooser.types.append("call")
        if self._chance.random() < 0.8:
            begin = self._chance.choice(DAYS) + timedelta(hours=self._chance.randrange(HOURS))
            chooser.start_at.CopyFrom(to_timestamp(begin))
            chooser.end_at.CopyFrom(to_timestamp(begin + timedelta(minutes=self._chance.randrange(30, 200))))
        if self._chance.random() < 0.3:
            region = self._chance.choice(REGIONS[:2])
            chooser.conditions.add(property="region", operator=api.CONDITION_OPERATOR_EQUALS, values=[region])
        return chooser

    def _names(self, count: int) -> list[corrections.UsageName]:
        """Recorded usage events, by name."""
        told = [each for each in self._ledger.told[-2_000:] if not each.name[0].startswith("backfill/")]
        chosen = {each.name: each for each in self._chance.sample(told, min(count, len(told)))}
        return [
            corrections.UsageName(source=source, id=name, position=each.position)
            for (source, name), each in chosen.items()
        ]

    def _correct(self, method: Any, request: Any) -> object:
        answer = self._decided("correction", request.key, method, request)
        if answer is not None:
            self._standing.append(request.key)
        return answer

    def _decided(self, kind: str, key: str, method: Any, request: Any) -> object:
        self._ledger.attempt(kind, key)
        answer = self._asked(method, request)
        if answer is not None:
            self._ledger.decide(kind, key)
        return answer

    def _asked(self, method: Any, request: Any) -> Any:
        def ask() -> Any:
            with grpc.insecure_channel(self._chance.choice(self._aggregators)) as channel:
                return method(channel)(request, timeout=CALL_TIMEOUT_S)

        return until_answered(ask, self._ledger, type(request).__name__, self._stopping)

    def _next(self) -> int:
        self._number += 1
        return self._number


def rebuilt(
    name: str,
    addresses: Sequence[str],
    ledger: Ledger,
    stop: threading.Event,
    mode: "projections.RebuildMode.ValueType" = projections.REBUILD_MODE_COMPARE_ONLY,
) -> projections.RebuildComparison | None:
    """A projection compared with one that is built anew, by the replica that folds; None when told to stop before."""
    request = projections.RebuildProjectionRequest(name=name, mode=mode, example_keys_max=3)

    def compare(channel: grpc.Channel) -> projections.RebuildComparison:
        service = ProjectionServiceStub(channel)
        try:
            *_, last = service.RebuildProjection(request, timeout=REBUILD_TIMEOUT_S)
        except grpc.RpcError as error:
            if not has_reason(error, HELD):
                raise
            # Each kill in the midst of a rebuild leaves one that can be gone on with; more than a few are refused.
            service.DiscardRebuilds(projections.DiscardRebuildsRequest(name=name), timeout=CALL_TIMEOUT_S)
            *_, last = service.RebuildProjection(request, timeout=REBUILD_TIMEOUT_S)
        comparison: projections.RebuildComparison = last.comparison
        return comparison

    return until_answered(lambda: of_leader(addresses, compare), ledger, f"rebuild {name}", stop, REBUILD_TIMEOUT_S)
