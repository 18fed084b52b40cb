"""The API's method about totals: what an invoice is rated from."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.range import parse_min_position, parse_span
from services.aggregator.deadline import Deadline
from services.aggregator.questions.totals import require_meters, totals
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import NOBODY_COUNTS, CountingView
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.ids import require_identifier
from services.projection.runner import ProjectionRunner


class Totals:
    """Counts several meters from one snapshot of the read model."""

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
        view: CountingView = NOBODY_COUNTS,
    ) -> None:
        """`view` knows how far counts of earlier usage are."""
        self._store = store
        self._windows = windows
        self._clock = clock
        self._archive = archive
        self._outstanding = Outstanding(store, windows, view)

    def query(self, request: api.QueryTotalsRequest, left_s: float) -> api.QueryTotalsResponse:
        """The totals of several meters for one customer over a range.

        Totals become invoices: raises RuleViolated while usage is parked (EVENTS_PARKED), or when the tables are of
        another log (LOG_REWOUND); Unavailable (METER_COUNTING) for a new meter.
        """
        deadline = Deadline.after(left_s)
        subject, meters = require_identifier(request.subject, "subject"), require_meters(request.meters)
        span, min_position = parse_span(request), parse_min_position(request)
        self._windows.wait_for_reader(min_position, left_s)
        with (
            self._outstanding.explained(),
            snapshot(self._windows, self._store, self._archive) as usage,
        ):
            self._windows.require_whole()
            counted = totals(usage, meters, subject, span, self._clock.now(), deadline)
            messages = [api.MeterTotal(meter=total.meter, value=total.value) for total in counted]
            return api.QueryTotalsResponse(totals=messages, position=usage.position)
