"""Read models in PostgreSQL that cannot be used say what is wrong, what to do, and never the password."""

import re
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from sqlalchemy import text

from services.kernel.errors import DomainError, InvalidInput, Unavailable
from services.projection.database import Database
from tests.postgres import fresh_database

_numbers = count(1)


def of_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return re.sub(r"/test_\d+(?=\?|$)", f"/{name}", url)


@pytest.fixture
def administrator() -> Iterator[psycopg.Connection]:
    with psycopg.connect(fresh_database(), autocommit=True) as connection:
        yield connection


def refusal(url: str) -> DomainError:
    with pytest.raises(DomainError) as refused:
        Database.open(url, "rating").close()
    assert "hunter2" not in str(refused.value)
    return refused.value


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    error = refusal("postgresql://meterlog:hunter2@127.0.0.1:1/tables?connect_timeout=1")
    assert (type(error), error.reason) == (Unavailable, "DATABASE_UNREACHABLE")
    assert 'schema "meterlog_rating" of database "tables" at 127.0.0.1:1' in error.message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d?no_such_option=1",
        "postgresql://u:hunter2@h/d?schema=Robert'); DROP",
        "postgresql://u:hunter2@h/d?schema=pg_temp",
        "postgresql://u:hunter2@[h/d",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    assert isinstance(refusal(url), InvalidInput)


def test_a_database_or_role_that_is_missing_is_told(administrator: psycopg.Connection) -> None:
    server = fresh_database()
    assert refusal(of_database(server, "nowhere")).reason == "DATABASE_MISSING"
    assert refusal(server.replace("postgres:@", "nobody:hunter2@")).reason == "DATABASE_REFUSES"


@pytest.fixture
def restricted(administrator: psycopg.Connection) -> tuple[str, str]:
    """A database whose role may not create schemas: its URL, and the name of the role."""
    role = f"restricted_{next(_numbers)}"
    database = fresh_database()
    administrator.execute(f'CREATE ROLE "{role}" LOGIN'.encode())
    return database.replace("postgres:@", f"{role}:@"), role


def test_a_role_that_may_not_create_a_schema_is_told_and_uses_one_that_was_created_for_it(
    restricted: tuple[str, str],
) -> None:
    url, role = restricted
    assert refusal(url).reason == "DATABASE_FORBIDS"
    with psycopg.connect(url.replace(f"{role}:@", "postgres:@"), autocommit=True) as owner:
        owner.execute(f'CREATE SCHEMA meterlog_rating AUTHORIZATION "{role}"'.encode())
    database = Database.open(url, "rating")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (key integer)"))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM notes")).scalar_one() == 0
    database.close()


def test_a_database_that_stores_text_in_another_encoding_is_refused(administrator: psycopg.Connection) -> None:
    name = f"latin_{next(_numbers)}"
    administrator.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
    )
    error = refusal(of_database(fresh_database(), name))
    assert isinstance(error, InvalidInput)
    assert "UTF8" in error.message
