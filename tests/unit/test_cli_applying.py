"""Applying item by item: what one refusal, and what a service that stops answering, means for the others."""

from collections.abc import Callable

import grpc
import pytest

from services.cli.declared.applying import Applied, answer_each
from services.cli.declared.catalogue import Item, read_catalogue
from services.cli.declared.difference import Action, Step
from services.cli.declared.report import applied_document
from services.cli.refusal import CallFailed
from services.kernel.errors import FieldViolation

ITEMS = read_catalogue("customers: [{key: a, currency: USD}, {key: b, currency: USD}, {key: c, currency: USD}]", "file")
GONE = CallFailed("nobody answers", "UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
WRONG = CallFailed(
    "customer.currency is wrong",
    "UNKNOWN_CURRENCY",
    grpc.StatusCode.INVALID_ARGUMENT,
    (FieldViolation("customer.currency", "customer.currency is wrong"),),
)


def failing_at(key: str, error: CallFailed) -> Callable[[Item], Applied]:
    def bring(item: Item) -> Applied:
        if item.key == key:
            raise error
        return Applied(Step(item, Action.CREATE), secret=f"secret of {item.key}")

    return bring


def actions(results: list[Applied]) -> list[Action]:
    return [result.step.action for result in results]


def test_an_item_that_is_refused_stops_no_other_and_is_named_as_in_the_file() -> None:
    results = list(answer_each(ITEMS, failing_at("b", WRONG)))
    assert actions(results) == [Action.CREATE, Action.REFUSED, Action.CREATE]
    assert results[1].violations == (FieldViolation("customers[1].currency", "is wrong"),)


def test_nothing_is_asked_again_once_a_service_is_gone_and_what_was_done_is_told() -> None:
    results = list(answer_each(ITEMS, failing_at("b", GONE)))
    assert actions(results) == [Action.CREATE, Action.REFUSED, Action.REFUSED]
    items = applied_document(results, is_dry_run=False)["items"]
    assert isinstance(items, list)
    assert items[0]["secret"] == "secret of a"
    assert items[2]["reason"] == "nobody answers (UNAVAILABLE)"


def test_a_platform_that_is_not_there_at_all_fails_the_command() -> None:
    with pytest.raises(CallFailed, match="nobody answers"):
        list(answer_each(ITEMS, failing_at("a", GONE)))
