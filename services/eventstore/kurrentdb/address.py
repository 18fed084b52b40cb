"""Where KurrentDB is and how to reach it, from the URL of the event store. Nothing is connected here."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from kurrentdbclient.connection_spec import ConnectionSpec

from services.kernel.errors import InvalidInput

_DEFAULTS = {
    "MaxDiscoverAttempts": "3",
    "GossipTimeout": "3",
    "KeepAliveInterval": "10000",
    "KeepAliveTimeout": "10000",
}
"""Where the URL is silent. A shorter search than the client's, because we repeat it; and pings, which the client leaves
out, because a subscription is mostly idle and a dead peer would never be noticed."""

_FILES = ("tlscafile", "usercertfile", "userkeyfile")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that was found in order. Its representation has no user and no password."""

    nodes: str
    is_single_node: bool
    is_encrypted: bool
    deadline_s: float | None
    uri: str = field(repr=False)
    username: str = field(repr=False)
    password: str = field(repr=False)

    def node(self, host: str, port: int) -> str:
        """The URI of one node of the same cluster, reached with the same options."""
        parts = urlsplit(self.uri)
        user = parts.netloc.rpartition("@")[0]
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        netloc = f"{user}@{host}:{port}" if user else f"{host}:{port}"
        return parts._replace(scheme="kurrentdb", netloc=netloc).geturl()


def address(url: str, *, read_only: bool) -> Address:
    """The address that a URL names; raises InvalidInput, and never repeats user or password.

    User and password are percent-decoded. `NodePreference` is for reading only: who appends talks to the leader, so
    that it reads what it wrote.
    """
    parts = _split(url)
    options = _options(parts)
    _require_supported(options, read_only=read_only)
    user, _, nodes = parts.netloc.rpartition("@")
    user = user.replace("@", "%40")
    if options.get("tls", "true").lower() != "false" and not all(user.partition(":")[::2]):
        raise _refused(f"TLS with {nodes} needs user and password; write user:password@ before the host, or Tls=false")
    netloc = f"{user}@{nodes}" if user else nodes
    uri = parts._replace(netloc=netloc, query=_query(parts, options)).geturl()
    return _checked(uri, nodes)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refused("it is no URL") from error
    if not parts.netloc.rpartition("@")[2].strip(","):
        raise _refused("it names no host; write kurrentdb://host:2113")
    if parts.path.strip("/") or parts.fragment:
        raise _refused("it has a path; KurrentDB has one log, write kurrentdb://host:2113")
    return parts


def _options(parts: SplitResult) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def _require_supported(options: dict[str, str], *, read_only: bool) -> None:
    if options.get("tlsverifycert", "true").lower() != "true":
        raise _refused("TlsVerifyCert cannot be switched off; name the authority's certificate by TlsCaFile")
    if not read_only and options.get("nodepreference", "leader").lower() != "leader":
        raise _refused("who appends talks to the leader; leave NodePreference out")
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise _refused(f"the file that {name} names is not there: {options[name]}")


def _query(parts: SplitResult, options: dict[str, str]) -> str:
    added = {name: value for name, value in _DEFAULTS.items() if name.lower() not in options}
    return "&".join(text for text in (parts.query, urlencode(added)) if text)


def _checked(uri: str, nodes: str) -> Address:
    try:
        spec = ConnectionSpec(uri)
    except ValueError as error:
        # Some of the client's messages hold the whole URI: only those that do not may be passed on.
        reason = "" if uri in str(error) else f": {error}"
        raise _refused(f"the client does not understand it{reason}") from None
    deadline = spec.options.default_deadline
    return Address(
        nodes=nodes,
        is_single_node=len(spec.targets) == 1 and not spec.scheme.endswith("+discover"),
        is_encrypted=spec.options.tls,
        deadline_s=None if deadline is None else max(1, deadline),
        uri=uri,
        username=unquote(spec.username or ""),
        password=unquote(spec.password or ""),
    )


def _refused(reason: str) -> InvalidInput:
    return InvalidInput(f"the event store's URL does not lead to a KurrentDB: {reason}", field="url")
