"""One page of a list: as many rows as were asked for and fit into a response, and the token that leads on."""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

from services.kernel.errors import InvalidInput
from services.kernel.ids import is_identifier
from services.rating.readmodel.invoices import InvoiceKey
from services.rpc.pages import decode_token

PAGE_BYTES_MAX = 3 * 1024 * 1024
"""Below the 4 MiB that a gRPC client takes unless it is told otherwise."""

M = TypeVar("M", bound=Message)


def fitting(rows: Iterable[M], size: int) -> tuple[list[M], bool]:
    """The first rows, at most `size` and PAGE_BYTES_MAX but at least one, and whether there are more."""
    page: list[M] = []
    size_bytes = 0
    for row in rows:
        size_bytes += row.ByteSize()
        if len(page) == size or (page and size_bytes > PAGE_BYTES_MAX):
            return page, True
        page.append(row)
    return page, False


def key_after(token: str) -> str:
    """The key that a list by key goes on behind; empty for the first page."""
    match decode_token(token):
        case ():
            return ""
        case (str(key),) if is_identifier(key):
            return key
    raise _other_list()


def invoice_after(token: str) -> InvoiceKey | None:
    """The invoice that a list of invoices goes on behind; None for the first page."""
    match decode_token(token):
        case ():
            return None
        case (int(start_us), str(customer), str(identifier)) if is_identifier(customer) and is_identifier(identifier):
            return (start_us, customer, identifier)
    raise _other_list()


def _other_list() -> InvalidInput:
    return InvalidInput("page_token belongs to another list; start from the first page", field="page_token")
