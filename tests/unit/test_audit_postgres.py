"""What a superuser takes back from a log on PostgreSQL, its commits included, is found by what was sealed outside."""

from pathlib import Path

import psycopg
import pytest

from services.eventstore.audit.verify import verify
from services.eventstore.postgres.address import LogAddress
from services.eventstore.postgres.read_only import ReadOnlyPostgresEventStore
from services.eventstore.postgres.store import PostgresEventStore
from services.kernel.errors import Corrupt
from tests.audit_room import CLOCK, fill, sealed, verified
from tests.postgres_log import fresh_log


@pytest.fixture
def address(tmp_path: Path) -> LogAddress:
    """Twenty sealed events in commits of five."""
    address = fresh_log()
    store = PostgresEventStore(address, CLOCK)
    fill(store, 20)
    sealed(store, tmp_path / "audit")
    store.close()
    return address


def as_superuser(address: LogAddress, *statements: str) -> None:
    with psycopg.connect(**address.parameters, autocommit=True) as connection:
        connection.execute(f"SET search_path = {address.schema}; SET session_replication_role = replica".encode())
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount > 0, statement


def test_a_log_that_was_cut_with_its_commits_is_found_by_the_seal_alone(address: LogAddress, tmp_path: Path) -> None:
    as_superuser(
        address,
        "DELETE FROM events WHERE position > 15",
        "DELETE FROM runs WHERE first_position > 15",
        "DELETE FROM commits WHERE last_position > 15",
    )
    store = ReadOnlyPostgresEventStore(address)
    assert verify(store).verified
    found = verified(store, tmp_path / "audit")
    assert (found.verified, found.first_bad_position) == (False, 16)
    with pytest.raises(Corrupt, match="nothing was signed"):
        sealed(store, tmp_path / "audit")
    store.close()


def test_a_log_that_was_cut_and_grew_again_is_found(address: LogAddress, tmp_path: Path) -> None:
    as_superuser(
        address,
        "DELETE FROM events WHERE position > 15",
        "DELETE FROM runs WHERE first_position > 15",
        "DELETE FROM commits WHERE last_position > 15",
    )
    store = PostgresEventStore(address, CLOCK)
    fill(store, 10, first=16, payload=b"another")
    assert verify(store).verified
    found = verified(store, tmp_path / "audit")
    assert (found.verified, found.first_bad_position) == (False, 16)
    with pytest.raises(Corrupt, match="nothing was signed"):
        sealed(store, tmp_path / "audit")
    store.close()


@pytest.mark.parametrize("byte", range(7))
def test_a_byte_that_was_changed_is_found_before_it_is_sealed_again(
    byte: int, address: LogAddress, tmp_path: Path
) -> None:
    as_superuser(
        address,
        f"UPDATE events SET payload = set_byte(payload, {byte}, get_byte(payload, {byte}) # 1) WHERE position = 8",
    )
    store = ReadOnlyPostgresEventStore(address)
    found = verified(store, tmp_path / "audit")
    assert (found.verified, found.first_bad_position) == (False, 8)
    with pytest.raises(Corrupt, match="nothing was signed") as alarm:
        sealed(store, tmp_path / "audit")
    assert alarm.value.metadata["first_bad_position"] == "8"
    store.close()
