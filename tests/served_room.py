"""The aggregator of a test, behind gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from services.aggregator.api.watch import UsageWatch
from services.aggregator.correction_face import CORRECTION_SERVICE, CorrectionFace
from services.aggregator.server import AGGREGATOR_SERVICE, AggregatorFace
from services.aggregator.waiting.lasting_calls import LastingCalls
from tests.aggregator_room import AggregatorRoom
from tests.served import served


@contextmanager
def served_room(room: AggregatorRoom, watch: UsageWatch | None = None) -> Iterator[str]:
    """The address of a room; without `watch` usage cannot be watched there."""
    lasting = LastingCalls()
    face = AggregatorFace(
        room.meters,
        room.usage,
        watch or cast(UsageWatch, None),
        room.totals,
        room.usage_events,
        room.unmatched,
        room.closed,
        room.counting,
        lasting,
    )
    corrections = CorrectionFace(room.corrections, room.backfills, lasting)
    with served(((AGGREGATOR_SERVICE, face.register), (CORRECTION_SERVICE, corrections.register))) as address:
        yield address
