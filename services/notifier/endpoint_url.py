"""Which addresses a webhook endpoint may have.

One strict grammar decides, and nothing it accepts can be read differently by another parser: no user, no fragment, no
blanks or backslashes, host names in plain labels, IPv4 in four decimals. Whether the host may be reached is decided
where the connection is opened (`network.py`), for a name can point anywhere later.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from services.kernel.errors import InvalidInput

URL_LENGTH_MAX = 2_048
HOST_LENGTH_MAX = 253
PORT_MAX = 65_535
PORTS_RESERVED_BELOW = 1_024
WEB_PORTS = frozenset({80, 443})

_CHARACTERS = re.compile(r"[!-~]+")
_UNSAFE = re.compile(r"[\"<>\\^`{|}]")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?:/[^#]*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def require_url(text: str, field: str, *, allows_http: bool) -> str:
    """`text`, when it is an address to post to; raises InvalidInput."""
    if not 1 <= len(text) <= URL_LENGTH_MAX:
        raise _bad(field, f"must have 1 to {URL_LENGTH_MAX} characters")
    if not _CHARACTERS.fullmatch(text) or _UNSAFE.search(text):
        raise _bad(field, "may hold plain ASCII only; percent-encode the rest, and write a host in its xn-- form")
    match = _URL.fullmatch(text)
    if match is None:
        raise _bad(field, 'must look like "https://host/path", without a user and without "#"')
    _require_scheme(match["scheme"].lower(), field, allows_http)
    _require_port(match["port"], field)
    _require_host(match["host"], field)
    return text


def is_https(url: str) -> bool:
    """Whether an accepted address is encrypted on its way."""
    return url[:8].lower() == "https://"


def _require_scheme(scheme: str, field: str, allows_http: bool) -> None:
    if scheme == "https" or (scheme == "http" and allows_http):
        return
    hint = "" if allows_http else "; METERLOG_WEBHOOK_ALLOW_HTTP=true allows http, for receivers on a safe network"
    raise _bad(field, f"must begin with https://{hint}")


def _require_port(port: str | None, field: str) -> None:
    if port is None or int(port) in WEB_PORTS or PORTS_RESERVED_BELOW <= int(port) <= PORT_MAX:
        return
    raise _bad(field, f"has port {port}; use 80, 443, or {PORTS_RESERVED_BELOW} to {PORT_MAX}")


def _require_host(host: str, field: str) -> None:
    is_good = _is_ipv6(host[1:-1]) if host.startswith("[") else _is_name_or_ipv4(host)
    if not is_good:
        raise _bad(field, f'has the host "{host[:60]}"; use a host name, four decimals, or [IPv6]')


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _is_name_or_ipv4(host: str) -> bool:
    """A last label that is a number makes it IPv4, which has one spelling here: 127.1 and 0x7f000001 are refused."""
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > HOST_LENGTH_MAX:
        return False
    return _NUMERIC_LABEL.fullmatch(labels[-1]) is None or _is_ipv4(host)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _bad(field: str, rule: str) -> InvalidInput:
    return InvalidInput(f"{field} {rule}", field=field, reason="BAD_URL")
