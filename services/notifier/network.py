"""Which network addresses a webhook may be sent to: public ones, and those that the operator allows by name.

The table is our own: `ipaddress.is_global` calls several addresses global that lead inside (NAT64, 6to4,
IPv4-compatible forms, the metadata services of some clouds). Sources: the IANA special-purpose address registries,
RFC 6890.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from services.kernel.errors import InvalidInput

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ALLOW_SETTING = "METERLOG_WEBHOOK_ALLOW_CIDRS"


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


NEVER = _networks(
    "0.0.0.0/8",  # this host
    "169.254.0.0/16",  # link-local, with the metadata service of most clouds
    "168.63.129.16/32",  # Azure, from inside the host
    "100.100.100.200/32",  # Alibaba Cloud, metadata
    "192.0.0.192/32",  # Oracle Cloud, metadata
    "224.0.0.0/4",  # multicast
    "255.255.255.255/32",  # broadcast
    "::/128",  # this host
    "fe80::/10",  # link-local
    "fec0::/10",  # site-local, retired
    "fd00:ec2::/32",  # Amazon, metadata and its neighbours
    "fd20:ce::254/128",  # Google Cloud, metadata
    "ff00::/8",  # multicast
)
"""Blocked even where the operator allows a network around them."""

INSIDE_IPV4 = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
)
PUBLIC_IPV6 = _networks("2000::/3")
INSIDE_IPV6 = _networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")


def is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Whether a connection to the address `text` may be opened; `allowed` are the operator's networks."""
    address = _unwrapped(ip_address(text.partition("%")[0]))
    if _is_in(address, NEVER):
        return False
    return _is_in(address, allowed) or _is_public(address)


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of METERLOG_WEBHOOK_ALLOW_CIDRS, separated by commas; raises InvalidInput."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    try:
        return tuple(ip_network(entry) for entry in entries)
    except ValueError as error:
        raise InvalidInput(
            f"{ALLOW_SETTING}: {error}; write networks such as 10.1.0.0/16, separated by commas",
            field=ALLOW_SETTING,
            reason="BAD_SETTING",
        ) from error


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside ::ffff:0:0/96, which the system dials as IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _is_in(address, INSIDE_IPV4)
    return _is_in(address, PUBLIC_IPV6) and not _is_in(address, INSIDE_IPV6)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
