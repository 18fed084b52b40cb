"""Who may call what: API keys with scopes, checked once for every call.

A key arrives in the metadata `x-api-key` and is known by its SHA-256 only. Scopes: `ingest` records usage, `read`
reads, `admin` does everything.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.kernel.errors import InvalidInput, NotPermitted, Unauthenticated

API_KEY_METADATA = "x-api-key"

_ENTRY = re.compile(r"(?P<name>[a-z0-9_-]{1,64}):(?P<scopes>[a-z+]+):(?P<digest>[0-9a-f]{64})")
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_REFLECTION = "/grpc.reflection."
_READ_VERBS = ("Get", "List", "Query", "Watch", "Preview")
_INGEST_VERBS = ("Record",)


class Scope(StrEnum):
    """What a key is for."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and for what. `customers` limits a key to these customers; empty means all."""

    name: str
    scopes: frozenset[Scope]
    customers: frozenset[str] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Whether the key has the scope; admin has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


EVERYBODY = Caller("everybody", frozenset({Scope.ADMIN}))


class Authorizer:
    """The keys that are known. Without any, everybody may do everything: allowed on loopback only."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers

    @property
    def is_open(self) -> bool:
        """Whether no key is configured."""
        return not self._callers

    def authorize(self, method: str, api_key: str) -> Caller:
        """The caller of a full method name; raises Unauthenticated or NotPermitted."""
        if self.is_open or method == _HEALTH_CHECK:
            return EVERYBODY
        caller = self._callers.get(hashlib.sha256(api_key.encode()).hexdigest())
        if caller is None:
            raise Unauthenticated(
                f"send a valid API key in the metadata {API_KEY_METADATA}",
                reason="API_KEY_UNKNOWN" if api_key else "API_KEY_MISSING",
            )
        scope = required_scope(method)
        if not caller.may(scope):
            raise NotPermitted(f'key "{caller.name}" lacks the scope {scope}', reason="SCOPE_MISSING")
        return caller


def required_scope(method: str) -> Scope:
    """The scope that a full method name such as "/meterlog.ingest.v1.IngestService/RecordUsage" asks for."""
    verb = method.rpartition("/")[2]
    if verb.startswith(_INGEST_VERBS):
        return Scope.INGEST
    if verb.startswith(_READ_VERBS) or method.startswith(_REFLECTION):
        return Scope.READ
    return Scope.ADMIN


def parse_keys(text: str) -> Authorizer:
    """The keys of METERLOG_API_KEYS; raises InvalidInput that says which entry is wrong and never shows a digest."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return Authorizer(dict(_parse_entry(number, entry) for number, entry in enumerate(entries, start=1)))


def _parse_entry(number: int, entry: str) -> tuple[str, Caller]:
    match = _ENTRY.fullmatch(entry)
    if match is None or not _are_scopes(match["scopes"].split("+")):
        raise InvalidInput(
            f"METERLOG_API_KEYS: entry {number} is not <name>:<scope>[+<scope>]:<64 hexadecimal digits>",
            field="METERLOG_API_KEYS",
            reason="BAD_SETTING",
        )
    scopes = frozenset(Scope(scope) for scope in match["scopes"].split("+"))
    return match["digest"], Caller(match["name"], scopes)


def _are_scopes(names: Iterable[str]) -> bool:
    return all(name in frozenset(Scope) for name in names)
