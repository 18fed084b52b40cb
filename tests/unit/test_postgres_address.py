"""The URL of a log on PostgreSQL: what it names, what is shown of it, and that its password is shown nowhere."""

import pytest

from services.eventstore.open import open_store
from services.eventstore.postgres.address import LogAddress
from services.kernel.clock import SystemClock
from services.kernel.errors import DomainError, InvalidInput

SECRET = "s3cret-pass"


def test_a_log_is_in_a_schema_of_its_own() -> None:
    assert LogAddress.parse("postgresql://host/billing").schema == "meterlog_log"
    assert LogAddress.parse("postgresql://host/billing?schema=log_eu").schema == "log_eu"


def test_what_else_the_url_says_is_for_libpq() -> None:
    address = LogAddress.parse("postgres://user@host:5433/billing?sslmode=require&schema=x&connect_timeout=3")
    assert address.parameters == {
        "user": "user",
        "host": "host",
        "port": "5433",
        "dbname": "billing",
        "sslmode": "require",
        "connect_timeout": "3",
    }


def test_several_hosts_and_socket_files_are_kept() -> None:
    assert LogAddress.parse("postgresql://a:1,b:2/billing").parameters["host"] == "a,b"
    assert LogAddress.parse("postgresql:///billing?host=%2Frun%2Fpg").parameters["host"] == "/run/pg"


def test_the_text_of_an_address_tells_where_the_log_is_and_no_secret() -> None:
    address = LogAddress.parse(f"postgresql://user:{SECRET}@host:5433/billing")
    assert str(address) == 'in schema "meterlog_log" of database "billing" at host:5433'
    assert SECRET not in repr(address)


@pytest.mark.parametrize("schema", ["", "Log", "pg_log", "a-b", 'a"b', "1log", "x" * 64, "log%20"])
def test_a_schema_that_is_no_plain_name_is_refused(schema: str) -> None:
    with pytest.raises(InvalidInput, match="schema"):
        LogAddress.parse(f"postgresql://host/billing?schema={schema}")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}%zz@host/billing",
        f"postgresql://user:{SECRET}@[host/billing",
        f"postgresql://host/billing?password={SECRET}&unknown=1",
        f"postgresql://user:{SECRET}@host/billing?sslmode",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_store(url, SystemClock())
    assert all(SECRET not in text for text in everything_said(refused.value))


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(DomainError) as refused:
        open_store(f"postgresql://user:{SECRET}@127.0.0.1:1/billing", SystemClock())
    assert refused.value.reason == "LOG_UNREACHABLE"
    assert all(SECRET not in text for text in everything_said(refused.value))


def everything_said(error: BaseException | None) -> list[str]:
    """The texts of an error and of those behind it, as a traceback would print them."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return said


def test_each_log_has_locks_of_its_own() -> None:
    one, other = (LogAddress.parse(f"postgresql://host/billing?schema={name}") for name in ("a", "b"))
    keys = {address.lock_key(purpose) for address in (one, other) for purpose in ("append", "migration")}
    assert len(keys) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
