"""A page of a list fits into a response, and only our own tokens lead on."""

import pytest

from meterlog.rating.v1.rating_pb2 import Customer
from services.kernel.errors import InvalidInput
from services.rating.api.page import PAGE_BYTES_MAX, fitting, invoice_after, key_after
from services.rpc.pages import encode_token


def test_a_page_holds_as_many_rows_as_were_asked_for_and_tells_of_more() -> None:
    rows = [Customer(key=str(n)) for n in range(3)]
    assert fitting(rows, 3) == (rows, False)
    assert fitting(rows, 2) == (rows[:2], True)
    assert fitting([], 2) == ([], False)


def test_a_page_ends_before_it_is_too_large_but_holds_at_least_one_row() -> None:
    large = [Customer(key="x" * (PAGE_BYTES_MAX // 2)) for _ in range(3)]
    assert fitting(large, 10) == (large[:1], True)
    huge = [Customer(key="x" * (PAGE_BYTES_MAX + 1))]
    assert fitting(huge, 10) == (huge, False)


def test_a_token_leads_on_behind_its_row() -> None:
    assert (key_after(""), key_after(encode_token("acme"))) == ("", "acme")
    assert invoice_after("") is None
    assert invoice_after(encode_token(17, "acme", "i-1")) == (17, "acme", "i-1")


@pytest.mark.parametrize(
    "token", [encode_token(1), encode_token("a", "b"), encode_token("a\0"), encode_token("\ud800"), encode_token("")]
)
def test_a_token_of_another_list_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        key_after(token)


@pytest.mark.parametrize(
    "token",
    [
        encode_token("acme"),
        encode_token("1", "acme", "i"),
        encode_token(2**70, "acme", "i"),
        encode_token(1, "acme", "\ud800"),
        encode_token(1, "acme"),
    ],
)
def test_an_invoice_token_of_another_list_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        invoice_after(token)
