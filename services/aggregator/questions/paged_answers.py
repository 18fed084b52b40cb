"""Answers that are given page by page: where a page begins, and the answers whose next page may be asked for soon."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from services.aggregator.questions.answer import Answer
from services.eventstore.event import Position
from services.kernel.clock import epoch_us, from_epoch_us
from services.kernel.errors import InvalidInput
from services.rpc.pages import decode_token, encode_token

PAGE_ROWS_MAX = 10_000
KEPT_ANSWERS_MAX = 32
KEPT_BYTES_MAX = 64 * 1024 * 1024
"""Answers that are kept between two pages; one that is gone is counted anew, as of its position."""

WINDOW_BYTES = 200
"""Bytes that a window takes beside its rows, about."""


@dataclass(frozen=True, slots=True)
class PagedQuestion:
    """One question, as every page of its answer is of: what was asked, at which log position and instant."""

    asked: str
    position: Position
    now: datetime

    def token(self, row: int) -> str:
        """The token of the page that begins with that row, from 0."""
        return encode_token("usage", self.asked, self.position, epoch_us(self.now), row)


def fingerprint(request: bytes) -> str:
    """What stands for a request in tokens: equal for equal requests."""
    return hashlib.sha256(request).hexdigest()[:24]


def require_page_size(size: int) -> int:
    """`size`, when a page may have so many rows (0: all); raises InvalidInput."""
    if not 0 <= size <= PAGE_ROWS_MAX:
        raise InvalidInput(
            f"page_size is {size}; it must be 1 to {PAGE_ROWS_MAX}", field="page_size", reason="BAD_PAGE_SIZE"
        )
    return size


def next_page(token: str, asked: str) -> tuple[PagedQuestion, int] | None:
    """The question that a token continues, and the row that its page begins with; None for the first page.

    Raises InvalidInput for a token of another question.
    """
    match decode_token(token):
        case ():
            return None
        case ("usage", str(of), int(position), int(now_us), int(row)) if of == asked and position > 0 and row > 0:
            try:
                return PagedQuestion(asked, Position(position), from_epoch_us(now_us)), row
            except OverflowError:
                pass
    raise InvalidInput(
        "page_token is of another question; repeat the question as it was, or start from the first page",
        field="page_token",
        reason="PAGE_TOKEN_OF_ANOTHER_QUESTION",
    )


class KeptAnswers:
    """The answers that were read last, as many as KEPT_BYTES_MAX and KEPT_ANSWERS_MAX hold. Any thread may use it."""

    def __init__(self) -> None:
        self._answers: OrderedDict[PagedQuestion, Answer] = OrderedDict()
        self._bytes = 0
        self._using = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, question: PagedQuestion) -> Answer | None:
        """The answer, when it is still there."""
        with self._using:
            if question in self._answers:
                self._answers.move_to_end(question)
            return self._answers.get(question)

    def keep(self, question: PagedQuestion, answer: Answer) -> None:
        """Keep an answer for its next pages, in place of those that nobody has read for longest."""
        with self._using:
            self._forget(question)
            self._answers[question] = answer
            self._bytes += _bytes(answer)
            while self._bytes > KEPT_BYTES_MAX or len(self._answers) > KEPT_ANSWERS_MAX:
                self._forget(next(iter(self._answers)))

    def forget(self, question: PagedQuestion) -> None:
        """Its last page was given."""
        with self._using:
            self._forget(question)

    def _forget(self, question: PagedQuestion) -> None:
        answer = self._answers.pop(question, None)
        if answer is not None:
            self._bytes -= _bytes(answer)


def _bytes(answer: Answer) -> int:
    return int(answer.quantities.nbytes) + WINDOW_BYTES * len(answer.query.windows)
