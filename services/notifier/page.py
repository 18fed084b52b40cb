"""Pages of lists: where one goes on, and when it is full."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.kernel.errors import InvalidInput
from services.rpc.pages import decode_token, encode_token

M = TypeVar("M", bound=Message)
R = TypeVar("R")

PAGE_BYTES_MAX = 2 * 1024 * 1024
"""A page that reaches so many bytes ends there, however few its items: any gRPC client takes 4 MiB."""

_NUMBER_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """The items of one page, and the token of the next (empty: this is the last)."""

    items: tuple[M, ...]
    next_page_token: str


def page_of(
    records: Iterable[R], size: int, shown: Callable[[R], M], place: Callable[[R], tuple[str | int, ...]]
) -> Page[M]:
    """Cut a page off `records`, of which more than `size` are there when another page follows.

    `shown` makes an item of a record, `place` says where a record stands in the list.
    """
    items: list[M] = []
    token = ""
    bytes_so_far = 0
    for record in records:
        if len(items) == size or bytes_so_far >= PAGE_BYTES_MAX:
            return Page(tuple(items), token)
        items.append(shown(record))
        bytes_so_far += items[-1].ByteSize()
        token = encode_token(*place(record))
    return Page(tuple(items), "")


def text_place(token: str) -> str:
    """The place in a list by one text; empty for the first page. Raises InvalidInput."""
    match decode_token(token):
        case ():
            return ""
        case (str(text),):
            return text
    raise _foreign()


def number_place(token: str) -> int | None:
    """The place in a list by one number; None for the first page. Raises InvalidInput."""
    match decode_token(token):
        case ():
            return None
        case (int(number),) if 0 <= number <= _NUMBER_MAX:
            return number
    raise _foreign()


def number_and_text_place(token: str) -> tuple[int, str] | None:
    """The place in a list by a number and a text; None for the first page. Raises InvalidInput."""
    match decode_token(token):
        case ():
            return None
        case (int(number), str(text)) if 0 <= number <= _NUMBER_MAX:
            return number, text
    raise _foreign()


def _foreign() -> InvalidInput:
    return InvalidInput("page_token is that of another list; start from the first page", field="page_token")
