"""Every call passes one check: who calls, and may they."""

import hashlib

import pytest

from services.kernel.errors import InvalidInput, NotPermitted, Unauthenticated
from services.rpc.authorization import Scope, parse_keys, required_scope


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = f"producer:ingest:{digest('p')}, board:read:{digest('b')},ops:admin:{digest('o')},both:ingest+read:{digest('i')}"
RECORD = "/meterlog.ingest.v1.IngestService/RecordUsage"
QUERY = "/meterlog.aggregator.v1.AggregatorService/QueryUsage"
CREATE = "/meterlog.aggregator.v1.AggregatorService/CreateMeter"
REBUILD = "/meterlog.common.v1.ProjectionService/RebuildProjection"


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        (RECORD, Scope.INGEST),
        (QUERY, Scope.READ),
        (CREATE, Scope.ADMIN),
        (REBUILD, Scope.ADMIN),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Scope.READ),
    ],
)
def test_each_method_asks_for_one_scope(method: str, scope: Scope) -> None:
    assert required_scope(method) is scope


@pytest.mark.parametrize(
    ("key", "method"), [("p", RECORD), ("b", QUERY), ("o", RECORD), ("o", CREATE), ("i", RECORD), ("i", QUERY)]
)
def test_a_key_may_do_what_its_scopes_say(key: str, method: str) -> None:
    assert parse_keys(KEYS).authorize(method, key).name


@pytest.mark.parametrize(("key", "method"), [("p", QUERY), ("b", RECORD), ("b", CREATE), ("i", REBUILD)])
def test_a_key_may_do_nothing_else(key: str, method: str) -> None:
    with pytest.raises(NotPermitted, match="lacks the scope"):
        parse_keys(KEYS).authorize(method, key)


@pytest.mark.parametrize(
    ("key", "reason"), [("", "API_KEY_MISSING"), ("x", "API_KEY_UNKNOWN"), (digest("o"), "API_KEY_UNKNOWN")]
)
def test_without_a_known_key_nothing_is_answered(key: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        parse_keys(KEYS).authorize(QUERY, key)
    assert refusal.value.reason == reason


def test_health_is_answered_to_anybody() -> None:
    assert parse_keys(KEYS).authorize("/grpc.health.v1.Health/Check", "").name == "everybody"


@pytest.mark.parametrize(
    "text",
    ["ops", "ops:admin", "ops:owner:" + digest("o"), "ops:admin:" + "z" * 64, f"a:read:{digest('a')},b:{digest('b')}"],
)
def test_a_malformed_key_is_refused_by_its_number_and_never_shown(text: str) -> None:
    with pytest.raises(InvalidInput, match="entry") as refusal:
        parse_keys(text)
    assert digest("o") not in refusal.value.message
    assert digest("b") not in refusal.value.message


def test_without_keys_the_service_is_open() -> None:
    assert parse_keys("").is_open
    assert parse_keys("").authorize(CREATE, "").may(Scope.ADMIN)
