"""What a failed call means to a person."""

from typing import Any

import grpc
import pytest

from services.cli.refusal import explain
from services.kernel.errors import DomainError, FieldViolation, InvalidInput, RuleViolated
from services.projection.owner_lock import Follows
from services.rpc.errors import DETAILS_KEY, status_code, status_details


class FailedCall(grpc.RpcError, grpc.Call):
    """A call that ended with an error, as gRPC hands it out."""

    def __init__(self, code: grpc.StatusCode, details: str = "", metadata: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata

    initial_metadata = is_active = time_remaining = cancel = add_callback = None  # type: ignore[assignment]  # unused


def refused(error: DomainError) -> FailedCall:
    return FailedCall(status_code(error), error.message, ((DETAILS_KEY, status_details(error)),))


def test_a_refusal_is_told_in_the_words_of_the_service_with_its_reason() -> None:
    failure = explain("rating", "127.0.0.1:7403", refused(RuleViolated("wait for it", reason="PERIOD_IS_OPEN")))
    assert (failure.message, failure.reason) == ("wait for it", "PERIOD_IS_OPEN")
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_replica_that_follows_says_where_the_address_of_the_other_goes() -> None:
    failure = explain("aggregator", "127.0.0.1:7402", refused(Follows("ask meterlog pod-1 7")))
    assert failure.message == "ask meterlog pod-1 7; set METERLOG_AGGREGATOR_ADDRESS to where that one answers"
    assert failure.reason == "REPLICA_FOLLOWS"


def test_a_wrong_field_is_named() -> None:
    failure = explain("rating", "127.0.0.1:7403", refused(InvalidInput("must rise", field="plan.prices[0].tiers")))
    assert failure.violations == (FieldViolation("plan.prices[0].tiers", "must rise"),)


def test_nobody_answering_says_what_to_start() -> None:
    failure = explain("ingest", "127.0.0.1:7401", FailedCall(grpc.StatusCode.UNAVAILABLE, "connection refused"))
    assert failure.message == (
        "the ingest service does not answer at 127.0.0.1:7401; start it with `meterlog up`, "
        "or set METERLOG_INGEST_ADDRESS"
    )


@pytest.mark.parametrize("code", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL])
def test_any_other_failure_names_the_service_and_its_address(code: grpc.StatusCode) -> None:
    message = explain("rating", "127.0.0.1:7403", FailedCall(code, "boom")).message
    assert "rating service at 127.0.0.1:7403" in message


def test_details_that_do_not_parse_are_no_second_failure() -> None:
    call = FailedCall(grpc.StatusCode.INTERNAL, "boom", ((DETAILS_KEY, b"\xff\xff"),))
    assert explain("rating", "127.0.0.1:7403", call).reason == "INTERNAL"
