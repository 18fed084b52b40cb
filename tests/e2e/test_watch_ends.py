"""A platform that stops does not wait for watchers, who would otherwise watch for ever."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from meterlog.aggregator.v1 import aggregator_pb2 as api
from meterlog.aggregator.v1.aggregator_pb2_grpc import AggregatorServiceStub
from services.cli.platform import Platform
from services.cli.processes.environment import PlatformSettings
from services.cli.processes.var_lock import VarLock
from services.kernel.timestamp import to_timestamp

WAIT_S = 120.0
START = datetime(2026, 1, 1, tzinfo=UTC)


def test_watchers_are_sent_away_when_the_platform_stops(tmp_path: Path) -> None:
    settings = PlatformSettings(var=tmp_path, port_base=0)
    with Platform(settings, VarLock.take(tmp_path), lambda _line: None) as platform:
        channel = grpc.insecure_channel(platform.addresses["aggregator"])
        stub = AggregatorServiceStub(channel)
        meter = api.Meter(slug="calls", event_type="call", aggregation=api.AGGREGATION_COUNT)
        stub.CreateMeter(api.CreateMeterRequest(meter=meter), timeout=WAIT_S)
        request = api.WatchUsageRequest(
            meter="calls", start_at=to_timestamp(START), end_at=to_timestamp(START + timedelta(days=1))
        )
        watching = stub.WatchUsage(request)
        assert next(watching).rows[0].value == "0"

    with pytest.raises(grpc.RpcError) as end:
        next(watching)
    # A drain that waited for the watcher would have cancelled it in the end.
    assert (end.value.code(), end.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the service is stopping; watch again in a moment",
    )
    channel.close()
