"""All that is due now, oldest billing period first, read page by page so that no snapshot is held while billing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.projection.runner import ProjectionRunner
from services.rating.readmodel.due import FIRST, DueInvoice, DueKey, DuePeriod, due_invoices, due_periods
from services.rating.readmodel.tables import BillingTables

PAGE_MAX = 100

Due = TypeVar("Due", DuePeriod, DueInvoice)


@dataclass(frozen=True, slots=True)
class DueWork:
    """What the books say is to be done."""

    books: ProjectionRunner[BillingTables]

    def periods(self, begun_by: datetime) -> Iterator[DuePeriod]:
        """For each subscription the first billing period without an invoice, if it has begun."""

        def page(after: DueKey) -> list[DuePeriod]:
            with self.books.read() as (connection, tables):
                return due_periods(connection, tables, begun_by, after, PAGE_MAX)

        return _all_pages(page)

    def invoices(self, ended_by: datetime) -> Iterator[DueInvoice]:
        """Every draft whose billing period had ended by then."""

        def page(after: DueKey) -> list[DueInvoice]:
            with self.books.read() as (connection, tables):
                return due_invoices(connection, tables, ended_by, after, PAGE_MAX)

        return _all_pages(page)


def _all_pages(page: Callable[[DueKey], list[Due]]) -> Iterator[Due]:
    after = FIRST
    while found := page(after):
        yield from found
        after = found[-1].key
