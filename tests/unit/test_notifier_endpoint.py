"""The rules of an endpoint: created once, ended for good, and with an address that means one thing only."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from meterlog.events.v1.webhook_pb2 import WebhookEndpointCreated, WebhookEndpointDeleted, WebhookEndpointDisabled
from services.eventstore.decider_testing import given
from services.kernel.errors import AlreadyExists, InvalidInput, NotFound
from services.kernel.timestamp import to_timestamp
from services.notifier.endpoint import (
    CreateEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EndpointCommand,
    EndpointContent,
    EndpointMode,
    EndpointState,
    endpoint,
)
from services.notifier.endpoint_url import require_url
from services.notifier.signature import Seal

NOW = datetime(2024, 2, 1, 12, tzinfo=UTC)
CONTENT = EndpointContent("https://example.com/hooks", ("invoice.finalized",), "Books", EndpointMode.LIVE)
CREATE = CreateEndpoint("books", CONTENT, Seal(b"salt", b"fingerprint"), NOW)
DELETE = DeleteEndpoint("books", NOW)
DISABLE = DisableEndpoint("books", "gone", NOW)


CREATED = WebhookEndpointCreated(
    key="books",
    url="https://example.com/hooks",
    message_types=["invoice.finalized"],
    description="Books",
    mode="live",
    secret_salt=b"salt",
    secret_fingerprint=b"fingerprint",
    created_at=to_timestamp(NOW),
)
DELETED = WebhookEndpointDeleted(key="books", deleted_at=to_timestamp(NOW))
DISABLED = WebhookEndpointDisabled(key="books", reason="gone", disabled_at=to_timestamp(NOW))


def test_an_endpoint_is_created_as_asked_and_enabled() -> None:
    created = given(endpoint).when(CREATE).then(CREATED)
    assert created is not None
    assert (created.key, created.content, created.seal) == ("books", CONTENT, CREATE.seal)
    assert (created.state, created.created_at) == (EndpointState.ENABLED, NOW)


def test_creating_it_again_does_nothing_and_keeps_the_first_secret() -> None:
    again = replace(CREATE, seal=Seal(b"other", b"other"), at=NOW.replace(hour=13))
    given(endpoint, [CREATED]).when(again).then_nothing()
    given(endpoint, [CREATED, DISABLED]).when(again).then_nothing()


def test_the_order_of_message_types_says_nothing() -> None:
    both = replace(CONTENT, message_types=("invoice.drafted", "invoice.finalized"))
    turned = replace(CONTENT, message_types=("invoice.finalized", "invoice.drafted"))
    events = endpoint.decide(replace(CREATE, content=both), None)
    given(endpoint, events).when(replace(CREATE, content=turned)).then_nothing()


@pytest.mark.parametrize(
    "content",
    [
        replace(CONTENT, url="https://example.com/other"),
        replace(CONTENT, message_types=()),
        replace(CONTENT, description="Other books"),
        replace(CONTENT, mode=EndpointMode.DRY_RUN),
    ],
)
def test_a_key_with_other_content_is_taken(content: EndpointContent) -> None:
    given(endpoint, [CREATED]).when(replace(CREATE, content=content)).refuses(AlreadyExists, "ENDPOINT_EXISTS")


def test_a_deleted_endpoint_stays_deleted_and_its_key_taken() -> None:
    given(endpoint, [CREATED]).when(DELETE).then(DELETED)
    given(endpoint, [CREATED, DELETED]).when(DELETE).then_nothing()
    given(endpoint, [CREATED, DELETED]).when(DISABLE).then_nothing()
    given(endpoint, [CREATED, DELETED]).when(CREATE).refuses(AlreadyExists, "ENDPOINT_WAS_DELETED")


def test_a_disabled_endpoint_can_be_deleted_and_is_disabled_once() -> None:
    given(endpoint, [CREATED]).when(DISABLE).then(DISABLED)
    given(endpoint, [CREATED, DISABLED]).when(DISABLE).then_nothing()
    given(endpoint, [CREATED, DISABLED]).when(DELETE).then(DELETED)


@pytest.mark.parametrize("command", [DELETE, DISABLE])
def test_what_was_never_created_cannot_end(command: EndpointCommand) -> None:
    given(endpoint).when(command).refuses(NotFound, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "HTTPS://Example.com./a/b%20c?d=e&f=@:/",
        "https://example.com:8443/hooks",
        "https://example.com:443",
        "https://xn--bcher-kva.example/",
        "https://under_score.example/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]:8443/",
        "https://1a.example1",
    ],
)
def test_an_address_that_means_one_thing_is_accepted(url: str) -> None:
    assert require_url(url, "endpoint.url", allows_http=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/hooks",
        "ftp://example.com",
        "http://example.com",
        "https:/example.com",
        "https://",
        "https:///hooks",
        "https://user@example.com",
        "https://user:pass@example.com",
        "https://example.com#part",
        "https://example.com/a#part",
        "https://example.com?query",
        "https://example.com/a b",
        "https://example.com/\r\nx: y",
        "https://example.com\\@evil.example/",
        "https://bücher.example/",
        "https://example.com:0",
        "https://example.com:25",
        "https://example.com:65536",
        "https://example.com:999999",
        "https://example.com:",
        "https://-a.example",
        "https://a..example",
        "https://.example",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 127 + "example",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://127.0.0.0x1/",
        "https://[::1",
        "https://[::1%25eth0]/",
        "https://[::g]/",
        "https://%31%32%37.0.0.1/",
        "https://example.com/" + "a" * 2_048,
        "https://１２７.0.0.1/",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_url(url, "endpoint.url", allows_http=False)
    assert (refused.value.field, refused.value.reason) == ("endpoint.url", "BAD_URL")


def test_http_is_accepted_where_the_operator_allows_it() -> None:
    assert require_url("http://127.0.0.1:8080/", "endpoint.url", allows_http=True)
    with pytest.raises(InvalidInput, match="METERLOG_WEBHOOK_ALLOW_HTTP"):
        require_url("http://127.0.0.1:8080/", "endpoint.url", allows_http=False)
