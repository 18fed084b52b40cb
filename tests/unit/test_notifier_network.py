"""Which addresses may be dialled: the table, form by form, and what an operator may open."""

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from services.kernel.errors import InvalidInput
from services.notifier.delivery import Failure
from services.notifier.network import is_allowed, parse_networks
from services.notifier.transport import BlockedAddress, failure_of

EVERYTHING = parse_networks("0.0.0.0/0, ::/0")
SOMEWHERE = ConnectionKey("a.example", 443, True, True, None, None, None)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "2a00:1450::8", "::ffff:1.1.1.1"])
def test_public_addresses_are_open(address: str) -> None:
    assert is_allowed(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "100.64.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "4000::1",
    ],
)
def test_inside_addresses_are_closed_until_the_operator_opens_them(address: str) -> None:
    assert not is_allowed(address, ())
    assert is_allowed(address, EVERYTHING)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ],
)
def test_metadata_link_local_and_multicast_stay_closed(address: str) -> None:
    assert not is_allowed(address, ())
    assert not is_allowed(address, EVERYTHING)


def test_an_operator_opens_exactly_what_is_named() -> None:
    allowed = parse_networks(" 10.1.0.0/16 ,, ::1/128 ")
    assert is_allowed("10.1.2.3", allowed)
    assert is_allowed("::ffff:10.1.2.3", allowed)
    assert is_allowed("::1", allowed)
    assert not is_allowed("10.2.0.1", allowed)
    assert parse_networks("") == ()


@pytest.mark.parametrize("text", ["10.1.2.3/16", "everything", "10.0.0.0/33"])
def test_a_network_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="METERLOG_WEBHOOK_ALLOW_CIDRS"):
        parse_networks(text)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError(), Failure.TIMEOUT),
        (aiohttp.ServerTimeoutError(), Failure.TIMEOUT),
        (aiohttp.ClientConnectorDNSError(SOMEWHERE, OSError(-2, "unknown")), Failure.DNS),
        (UnicodeError("label too long"), Failure.DNS),
        (aiohttp.ClientConnectorError(SOMEWHERE, BlockedAddress()), Failure.BLOCKED_ADDRESS),
        (aiohttp.ClientConnectorError(SOMEWHERE, OSError(111, "refused")), Failure.CONNECTION),
        (aiohttp.ServerDisconnectedError(), Failure.CONNECTION),
        (ConnectionResetError(), Failure.CONNECTION),
        (aiohttp.ClientPayloadError(), Failure.PROTOCOL),
        (aiohttp.InvalidURL("https://"), Failure.INVALID_URL),
    ],
)
def test_every_error_of_the_client_has_its_class(error: Exception, failure: Failure) -> None:
    assert failure_of(error) is failure
