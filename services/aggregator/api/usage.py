"""The API's method about usage."""

from meterlog.aggregator.v1 import aggregator_pb2 as api
from services.aggregator.api.range import parse_as_of, parse_min_position, wait_for_as_of
from services.aggregator.api.usage_query import parse_query, row_messages
from services.aggregator.deadline import Deadline
from services.aggregator.questions.answer import PAGED_ROWS_MAX, ROWS_MAX, Answer, full_answer
from services.aggregator.questions.known_then import instant_of, meter_as_of
from services.aggregator.questions.paged_answers import (
    KeptAnswers,
    PagedQuestion,
    fingerprint,
    next_page,
    require_page_size,
)
from services.aggregator.snapshot import UsageSnapshot, snapshot
from services.aggregator.tables import UsageTables
from services.aggregator.usage.archived_usage import ArchivedUsage
from services.aggregator.waiting.counting_progress import NOBODY_COUNTS, CountingView
from services.aggregator.waiting.outstanding import Outstanding
from services.eventstore.event import Position
from services.eventstore.store import EventStore
from services.kernel.clock import Clock
from services.projection.runner import ProjectionRunner


class Usage:
    """Answers queries, each from one snapshot of the read model; all pages of one answer are of one log position."""

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
        self.kept = KeptAnswers()

    def query(self, request: api.QueryUsageRequest, left_s: float) -> api.QueryUsageResponse:
        """The usage of one meter over a range, or the next page of it. Unavailable (METER_COUNTING) for a new meter."""
        with self._outstanding.explained():
            return self._query(request, Deadline.after(left_s))

    def _query(self, request: api.QueryUsageRequest, deadline: Deadline) -> api.QueryUsageResponse:
        asked, size = fingerprint(_content(request)), require_page_size(request.page_size)
        min_position, as_of = parse_min_position(request), parse_as_of(request)
        continued = next_page(request.page_token, asked)
        if continued is None:
            self._windows.wait_for_reader(min_position, deadline.left_s())
            question, answer = self._count(request, asked, as_of, deadline)
            return self._page(question, answer, 0, size)
        question, row = continued
        kept = self.kept.get(question)
        return self._page(question, kept or self._count_again(request, question, deadline), row, size)

    def _count(
        self, request: api.QueryUsageRequest, asked: str, as_of: Position | None, deadline: Deadline
    ) -> tuple[PagedQuestion, Answer]:
        wait_for_as_of(self._windows, self._store, as_of, deadline.left_s())
        with snapshot(self._windows, self._store, self._archive) as usage:
            if as_of is None:
                question = PagedQuestion(asked, usage.position, self._clock.now())
            else:
                question = PagedQuestion(asked, as_of, instant_of(usage, as_of))
            return question, self._answer(usage, request, question, deadline)

    def _page(self, question: PagedQuestion, answer: Answer, start: int, size: int) -> api.QueryUsageResponse:
        end = start + size if size else answer.row_count
        is_last = end >= answer.row_count
        if is_last:
            self.kept.forget(question)
        else:
            self.kept.keep(question, answer)
        return api.QueryUsageResponse(
            rows=row_messages(answer.query, answer.rows(start, end)),
            position=question.position,
            next_page_token="" if is_last else question.token(end),
        )

    def _count_again(self, request: api.QueryUsageRequest, question: PagedQuestion, deadline: Deadline) -> Answer:
        """An answer that is not kept any more, or was given by another replica."""
        wait_for_as_of(self._windows, self._store, question.position, deadline.left_s())
        with snapshot(self._windows, self._store, self._archive) as usage:
            return self._answer(usage, request, question, deadline)

    def _answer(
        self, usage: UsageSnapshot, request: api.QueryUsageRequest, question: PagedQuestion, deadline: Deadline
    ) -> Answer:
        as_of = question.position if question.position < usage.position else None
        query = parse_query(meter_as_of(usage, request.meter, as_of), request).at(question.now, as_of)
        return full_answer(usage, query, deadline, PAGED_ROWS_MAX if request.page_size else ROWS_MAX)


def _content(request: api.QueryUsageRequest) -> bytes:
    """What is asked, whichever page of it, and however far the read model had to be."""
    content = api.QueryUsageRequest()
    content.CopyFrom(request)
    for field in ("page_size", "page_token", "min_position"):
        content.ClearField(field)
    return bytes(content.SerializeToString(deterministic=True))
