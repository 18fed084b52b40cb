"""The API's methods about backfills: open, close, revert, get, list."""

from meterlog.aggregator.v1 import correction_pb2 as api
from services.aggregator.api.backfill_message import backfill_message, opening_of
from services.aggregator.api.corrections import page_position
from services.aggregator.corrections.backfill import (
    BACKFILL,
    BackfillCommand,
    Close,
    Open,
    RevertBackfill,
    backfill_stream,
    is_closable,
)
from services.aggregator.corrections.backfill_rows import list_backfills, loaded_count, read_backfill
from services.aggregator.corrections.closing import closing_event
from services.aggregator.corrections.decision import (
    BACKFILL_KEY_MAX,
    Decision,
    require_correction_key,
    require_decision,
)
from services.aggregator.corrections.told import told_backfill
from services.aggregator.corrections.turn import Turn
from services.aggregator.deadline import Deadline
from services.aggregator.snapshot import snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import NOBODY_COUNTS, CountingView
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.decider import handle, load
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.kernel.errors import InvalidInput
from services.projection.runner import ProjectionRunner
from services.rpc.interceptor import caller_of_call
from services.rpc.pages import encode_token, page_size


class Backfills:
    """Runs commands against a backfill's stream. Usage and totals follow, unless it is to be answered early, before a
    command is answered; TimedOut while they are STILL_COUNTING.
    """

    def __init__(
        self,
        store: EventStore,
        windows: ProjectionRunner[UsageTables],
        clock: Clock,
        archive: ArchivedUsage | None = None,
        turn: Turn | None = None,
        view: CountingView = NOBODY_COUNTS,
    ) -> None:
        """`turn` is that of all who decide about the same usage in this process; None: this is the only one.

        `view` knows how far counts of earlier usage are.
        """
        self._store = store
        self._windows = windows
        self._clock = clock
        self._archive = archive
        self._turn = turn or Turn()
        self._outstanding = Outstanding(store, windows, view)

    def open(self, request: api.OpenBackfillRequest, left_s: float) -> api.OpenBackfillResponse:
        """Open a backfill."""
        deadline = Deadline.after(left_s)
        key = _key(request.key)
        self._run(key, Open(opening_of(request, self._decision(request))), deadline)
        return api.OpenBackfillResponse(backfill=self._answer(key, deadline))

    def close(self, request: api.CloseBackfillRequest, left_s: float) -> api.CloseBackfillResponse:
        """Close a backfill: its usage counts, and what it replaces does not."""
        deadline = Deadline.after(left_s)
        key, decision = _key(request.key), self._decision(request)
        if request.expected_count < 0:
            raise InvalidInput("expected_count is below 0; leave it out, or say how many", field="expected_count")
        with self._turn.taken(deadline) as require_turn:
            backfill = load(self._store, BACKFILL, backfill_stream(key))
            if backfill is not None and is_closable(key, backfill):
                self._outstanding.catch_up(deadline)
                with snapshot(self._windows, self._store, self._archive) as usage:
                    event = closing_event(usage, backfill.opened, request.expected_count, decision, deadline)
                require_turn()
                self._run(key, Close(event), deadline)
        return api.CloseBackfillResponse(backfill=self._answer(key, deadline, answer_early=request.answer_early))

    def revert(self, request: api.RevertBackfillRequest, left_s: float) -> api.RevertBackfillResponse:
        """Revert a backfill, open or closed."""
        deadline = Deadline.after(left_s)
        key = _key(request.key)
        decision = self._decision(request)
        with self._turn.taken(deadline):
            self._run(key, RevertBackfill(key, decision), deadline)
        return api.RevertBackfillResponse(backfill=self._answer(key, deadline, answer_early=request.answer_early))

    def get(self, request: api.GetBackfillRequest) -> api.GetBackfillResponse:
        """One backfill, as soon as it is opened; raises NotFound."""
        return api.GetBackfillResponse(backfill=self._message(_key(request.key)))

    def list(self, request: api.ListBackfillsRequest) -> api.ListBackfillsResponse:
        """Backfills that usage knows of already, newest first."""
        size, before = page_size(request.page_size), page_position(request.page_token)
        with self._windows.read() as (connection, tables):
            rows = list_backfills(connection, tables.corrections, before, size + 1)
            messages = [
                backfill_message(row, loaded_count(connection, tables.corrections, row.opened.key))
                for row in rows[:size]
            ]
        token = encode_token(rows[size - 1].position) if len(rows) > size else ""
        return api.ListBackfillsResponse(backfills=messages, next_page_token=token)

    def _decision(
        self, request: api.OpenBackfillRequest | api.CloseBackfillRequest | api.RevertBackfillRequest
    ) -> Decision:
        return require_decision(
            Decision(request.reason, request.decided_by, caller_of_call.get().name, self._clock.now())
        )

    def _run(self, key: str, command: BackfillCommand, deadline: Deadline) -> None:
        """Raises TimedOut; when the time was over before, nothing is decided."""
        deadline.require()
        handle(self._store, BACKFILL, backfill_stream(key), command, self._clock.now())

    def _answer(self, key: str, deadline: Deadline, *, answer_early: bool = False) -> api.Backfill:
        """The backfill, once usage says what its stream says now, or at once; raises NotFound."""
        if not answer_early:
            self._outstanding.wait(backfill_stream(key), deadline)
        return self._message(key)

    def _message(self, key: str) -> api.Backfill:
        counting = self._outstanding.of(backfill_stream(key))
        with self._windows.read() as (connection, tables):
            if counting is None:
                row = read_backfill(connection, tables.corrections, key)
            else:
                row = told_backfill(self._outstanding.history(backfill_stream(key)))
            return backfill_message(row, loaded_count(connection, tables.corrections, key), counting)


def _key(text: str) -> str:
    return require_correction_key(text, "key", BACKFILL_KEY_MAX)
