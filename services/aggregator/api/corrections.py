"""The API's methods about corrections: preview, cancel, amend, revert, get, list."""

from meterlog.aggregator.v1 import correction_pb2 as api
from services.aggregator.api.correction_message import correction_message, parse_choice
from services.aggregator.corrections.amendment import amendment_content, amendment_event
from services.aggregator.corrections.cancellation import Cancelling, cancellation_event, preview_of, resolve
from services.aggregator.corrections.correction import (
    CORRECTION,
    Correct,
    CorrectionCommand,
    CorrectionContent,
    Revert,
    correction_stream,
    require_same,
)
from services.aggregator.corrections.correction_rows import list_corrections, read_correction
from services.aggregator.corrections.decision import Decision, require_correction_key, require_decision
from services.aggregator.corrections.naming import UsageName, find_one, require_name
from services.aggregator.corrections.told import told_correction
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
from services.rpc.pages import decode_token, encode_token, page_size


class Corrections:
    """Runs commands against a correction's stream. Usage and totals follow, unless it is to be answered early, before a
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

    def preview(self, request: api.PreviewCancellationRequest, left_s: float) -> api.PreviewCancellationResponse:
        """What a cancellation would hit; nothing is written."""
        deadline = Deadline.after(left_s)
        names, chooser = parse_choice(request)
        self._outstanding.catch_up(deadline)
        with snapshot(self._windows, self._store, self._archive) as usage:
            return preview_of(usage, resolve(usage, names, chooser, deadline), deadline)

    def cancel(self, request: api.CancelUsageRequest, left_s: float) -> api.CancelUsageResponse:
        """Cancel what is named, or what a filter chooses."""
        deadline = Deadline.after(left_s)
        key = require_correction_key(request.key, "key")
        names, chooser = parse_choice(request)
        decision = self._decision(request)
        content = CorrectionContent(
            tuple((name.source, name.id) for name in names),
            chooser,
            True,
            decision.reason,
            decision.decided_by,
            _position(request.until_position, "until_position", is_required=chooser is not None),
            _count(request.expected_count, is_required=chooser is not None),
        )
        with self._turn.taken(deadline) as require_turn:
            if not self._is_decided(key, content):
                self._outstanding.catch_up(deadline)
                with snapshot(self._windows, self._store, self._archive) as usage:
                    cancelling = Cancelling(key, resolve(usage, names, chooser, deadline), content, decision)
                    event = cancellation_event(usage, cancelling, deadline)
                require_turn()
                self._run(key, Correct(event, content), deadline)
        return api.CancelUsageResponse(correction=self._answer(key, deadline, request.answer_early))

    def amend(self, request: api.AmendUsageRequest, left_s: float) -> api.AmendUsageResponse:
        """Give one usage event another value, or other properties."""
        deadline = Deadline.after(left_s)
        key = require_correction_key(request.key, "key")
        name = require_name(UsageName(request.name.source, request.name.id, request.name.position), "name")
        decision = self._decision(request)
        content = amendment_content(request, decision)
        with self._turn.taken(deadline) as require_turn:
            if not self._is_decided(key, content):
                self._outstanding.catch_up(deadline)
                with snapshot(self._windows, self._store, self._archive) as usage:
                    found = find_one(usage, name, deadline)
                require_turn()
                self._run(key, Correct(amendment_event(key, found, content, decision), content), deadline)
        return api.AmendUsageResponse(correction=self._answer(key, deadline, request.answer_early))

    def revert(self, request: api.RevertCorrectionRequest, left_s: float) -> api.RevertCorrectionResponse:
        """Revert a correction, as though it had never been."""
        deadline = Deadline.after(left_s)
        key = require_correction_key(request.key, "key")
        decision = self._decision(request)
        with self._turn.taken(deadline):
            self._run(key, Revert(key, decision), deadline)
        return api.RevertCorrectionResponse(correction=self._answer(key, deadline, request.answer_early))

    def get(self, request: api.GetCorrectionRequest) -> api.GetCorrectionResponse:
        """One correction, as soon as it is decided; raises NotFound."""
        return api.GetCorrectionResponse(correction=self._message(require_correction_key(request.key, "key")))

    def list(self, request: api.ListCorrectionsRequest) -> api.ListCorrectionsResponse:
        """Corrections that usage says already, newest first."""
        size, before = page_size(request.page_size), page_position(request.page_token)
        with self._windows.read() as (connection, tables):
            rows = list_corrections(connection, tables.corrections, before, size + 1)
        token = encode_token(rows[size - 1].position) if len(rows) > size else ""
        return api.ListCorrectionsResponse(corrections=map(correction_message, rows[:size]), next_page_token=token)

    def _decision(
        self, request: api.CancelUsageRequest | api.AmendUsageRequest | api.RevertCorrectionRequest
    ) -> Decision:
        return require_decision(
            Decision(request.reason, request.decided_by, caller_of_call.get().name, self._clock.now())
        )

    def _is_decided(self, key: str, content: CorrectionContent) -> bool:
        """Whether this was decided already; raises AlreadyExists when something else was, under the same key."""
        correction = load(self._store, CORRECTION, correction_stream(key))
        if correction is not None:
            require_same(correction, content)
        return correction is not None

    def _run(self, key: str, command: CorrectionCommand, deadline: Deadline) -> None:
        deadline.require()
        handle(self._store, CORRECTION, correction_stream(key), command, self._clock.now())

    def _answer(self, key: str, deadline: Deadline, answer_early: bool) -> api.Correction:
        """The correction, once usage says what its stream says now, or at once."""
        if not answer_early:
            self._outstanding.wait(correction_stream(key), deadline)
        return self._message(key)

    def _message(self, key: str) -> api.Correction:
        counting = self._outstanding.of(correction_stream(key))
        if counting is not None:
            return correction_message(told_correction(self._outstanding.history(correction_stream(key))), counting)
        with self._windows.read() as (connection, tables):
            return correction_message(read_correction(connection, tables.corrections, key))


def page_position(token: str) -> int | None:
    """The position that a page of a list goes on behind; None for the first page."""
    match decode_token(token):
        case ():
            return None
        case (int(position),):
            return position
        case _:
            raise InvalidInput("page_token is of another list; start from the first page", field="page_token")


def _position(position: int, field: str, *, is_required: bool) -> int:
    if position < 0 or (is_required and not position):
        raise InvalidInput(
            f"{field} is {position}; send the position of the preview", field=field, reason="NO_PREVIEW_POSITION"
        )
    return position


def _count(count: int, *, is_required: bool) -> int:
    if count < 0 or (is_required and not count):
        raise InvalidInput(
            f"expected_count is {count}; send how many usage events the preview said",
            field="expected_count",
            reason="NO_EXPECTED_COUNT",
        )
    return count
