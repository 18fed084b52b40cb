"""Reaching KurrentDB: by whichever node leads, over TLS, with the right user, and with clear words when it fails."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import grpc
import pytest

from services.eventstore.event import ANY_VERSION, BEGINNING, NewEvent, StreamName
from services.eventstore.kurrentdb.address import address
from services.eventstore.kurrentdb.limits import KurrentLimits
from services.eventstore.kurrentdb.session import Session
from services.eventstore.kurrentdb.store import KurrentEventStore
from services.eventstore.open import open_store
from services.eventstore.store import EventStore
from services.kernel.clock import SimulatedClock
from services.kernel.errors import InvalidInput, RuleViolated, Unavailable
from tests.kurrentdb_server import EventLog, Fault, KurrentServer, Membership, Options
from tests.kurrentdb_server.certificates import certificates

METER = StreamName("meter", "tokens")
CLOCK = SimulatedClock(datetime(2024, 1, 31, tzinfo=UTC))
QUICK = KurrentLimits(call_timeout_s=1.0, append_total_s=60.0, read_total_s=60.0, pause_first_s=0.02)

HASTY = KurrentLimits(call_timeout_s=20.0, append_total_s=0.1, read_attempts_max=1, pause_first_s=0.01)
PASSWORD = "s3cr3t/@:ü"


def append(store: EventStore, count: int = 1) -> None:
    for _ in range(count):
        store.append(METER, [NewEvent(UUID(int=1), "Happened", 1, b"")], ANY_VERSION)


def versions(store: EventStore) -> list[int]:
    return [event.version for event in store.read_stream(METER)]


@pytest.fixture
def cluster() -> Iterator[list[KurrentServer]]:
    log, membership = EventLog(), Membership()
    nodes = [KurrentServer(log=log, membership=membership) for _ in range(3)]
    for node in nodes:
        node.start()
    yield nodes
    for node in nodes:
        node.stop()


def all_of(nodes: list[KurrentServer]) -> str:
    return f"kurrentdb://{','.join(node.target for node in nodes)}?Tls=false"


def any_of(nodes: list[KurrentServer]) -> str:
    return f"kurrentdb+discover://{nodes[1].target}?Tls=false"


def one_of(nodes: list[KurrentServer]) -> str:
    return nodes[1].url


@pytest.mark.parametrize("url", [all_of, any_of, one_of])
def test_the_leader_is_found_and_followed_when_it_changes(cluster: list[KurrentServer], url: object) -> None:
    assert callable(url)
    store = KurrentEventStore(url(cluster), CLOCK, limits=QUICK)
    append(store, 2)
    cluster[2].lead()
    append(store, 2)
    assert store.read_all(after=BEGINNING).is_last
    cluster[0].lead()
    assert versions(store) == [0, 1, 2, 3]
    append(store)
    assert versions(store) == [0, 1, 2, 3, 4]
    store.close()


def test_a_leader_that_dies_is_replaced_by_the_next(cluster: list[KurrentServer]) -> None:
    store = KurrentEventStore(all_of(cluster), CLOCK, limits=QUICK)
    append(store)
    cluster[0].stop()
    cluster[1].lead()
    append(store)
    assert versions(store) == [0, 1]
    store.close()


def test_a_cluster_without_a_leader_is_named_as_such(cluster: list[KurrentServer]) -> None:
    cluster[0].node.membership.leader = None
    url = f"{all_of(cluster)}&MaxDiscoverAttempts=1"
    store = KurrentEventStore(url, CLOCK, limits=HASTY)
    with pytest.raises(Unavailable, match="election"):
        store.head()
    store.close()


def test_a_node_that_misleads_is_not_followed_for_ever(cluster: list[KurrentServer]) -> None:
    store = KurrentEventStore(one_of(cluster), CLOCK, limits=replace(QUICK, append_total_s=0.5))
    cluster[0].stop()  # the others still name it as their leader
    with pytest.raises(Unavailable):
        append(store)
    store.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[KurrentServer, Path]]:
    """A server with TLS and users, and the certificate to trust."""
    made = certificates()
    authority = tmp_path / "authority.pem"
    authority.write_bytes(made.authority)
    options = Options(users={"admin": PASSWORD, "guest": "guest"})
    with KurrentServer(options=options, tls=made.server) as server:
        yield server, authority


def guarded_url(guarded: tuple[KurrentServer, Path], user: str, password: str) -> str:
    server, authority = guarded
    return f"esdb://{user}:{quote(password, safe='')}@{server.target}?TlsCaFile={quote(str(authority))}"


def test_user_password_and_authority_come_from_the_url(guarded: tuple[KurrentServer, Path]) -> None:
    store = open_store(guarded_url(guarded, "admin", PASSWORD), CLOCK)
    append(store)
    assert versions(store) == [0]
    assert store.head().position > BEGINNING
    store.close()


@pytest.mark.parametrize(
    ("user", "password", "says"), [("admin", "wr0ng-w0rd", "check user and password"), ("guest", "guest", r"\$admins")]
)
def test_a_user_who_may_not_is_told_what_to_check_and_the_password_is_not_told(
    guarded: tuple[KurrentServer, Path], caplog: pytest.LogCaptureFixture, user: str, password: str, says: str
) -> None:
    caplog.set_level(logging.DEBUG)
    store = KurrentEventStore(guarded_url(guarded, user, password), CLOCK, limits=HASTY)
    with pytest.raises(Unavailable, match=says) as refused:
        store.head()
    assert "wr0ng-w0rd" not in f"{refused.value} {refused.value.metadata} {caplog.text}"
    store.close()


def test_an_authority_that_did_not_sign_is_named_as_a_matter_of_tls(
    guarded: tuple[KurrentServer, Path], tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(certificates().authority)
    url = guarded_url((guarded[0], stranger), "admin", PASSWORD)
    store = KurrentEventStore(url, CLOCK, limits=HASTY)
    with pytest.raises(Unavailable, match="TlsCaFile"):
        store.head()
    store.close()


def test_no_server_is_said_with_the_setting_to_check() -> None:
    with KurrentServer() as gone:
        url = gone.url
    store = KurrentEventStore(url, CLOCK, limits=HASTY)
    with pytest.raises(Unavailable, match="METERLOG_STORE_URL"):
        store.head()
    with pytest.raises(Unavailable, match="METERLOG_STORE_URL"):
        append(store)
    store.close()


def test_a_server_that_falls_silent_is_connected_anew() -> None:
    limits = KurrentLimits(call_timeout_s=0.2, stall_s=0.1, read_total_s=60.0, append_total_s=60.0, pause_first_s=0.01)
    with KurrentServer() as server:
        store = KurrentEventStore(server.url, CLOCK, limits=limits)
        append(store)
        server.faults.arm(Fault.READ_SILENT, times=2, amount=0)
        assert store.head().position > BEGINNING
        store.close()


def test_no_call_is_left_waiting_when_the_server_goes_away_again_and_again() -> None:
    """With gRPC's own retries switched on, this leaves calls that never end, whatever their deadline."""
    limits = KurrentLimits(call_timeout_s=1.0, read_attempts_max=1)
    over = threading.Event()
    with KurrentServer() as server:
        stores = [KurrentEventStore(server.url, CLOCK, limits=limits) for _ in range(4)]

        def ask(store: KurrentEventStore) -> None:
            while not over.is_set():
                with suppress(Unavailable):
                    store.head()

        askers = [threading.Thread(target=ask, args=(store,), daemon=True) for store in stores]
        for asker in askers:
            asker.start()
        for _ in range(25):
            threading.Event().wait(0.08)
            server.stop()
            server.start()
        over.set()
        for asker in askers:
            asker.join(60.0)
        assert not any(asker.is_alive() for asker in askers)
        for store in stores:
            store.close()


def test_the_retries_of_grpc_itself_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[tuple[str, object], ...]] = []
    plain = grpc.insecure_channel
    monkeypatch.setattr(
        grpc, "insecure_channel", lambda target, options: made.append(options) or plain(target, options)
    )
    Session(address("kdb://node?Tls=false", read_only=False), "kdb://node?Tls=false").close()
    assert ("grpc.enable_retries", 0) in made[0]


def test_a_log_opened_for_reading_refuses_appends_and_reads_a_follower(cluster: list[KurrentServer]) -> None:
    writer = KurrentEventStore(all_of(cluster), CLOCK, limits=QUICK)
    append(writer, 3)
    reader = open_store(f"{all_of(cluster)}&NodePreference=follower", CLOCK, read_only=True)
    assert versions(reader) == [0, 1, 2]
    with pytest.raises(RuleViolated, match="reading only"):
        append(reader)
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("kurrentdb://", "names no host"),
        ("kurrentdb://node:2113/path?Tls=false", "path"),
        ("kurrentdb://node:2113", "user and password"),
        ("kurrentdb://:hidden@node:2113", "user and password"),
        ("kurrentdb://user:hidden@node:2113?TlsVerifyCert=false", "TlsCaFile"),
        ("kurrentdb://user:hidden@node:2113?TlsCaFile=/no/such/file", "not there"),
        ("kurrentdb://user:hidden@node:2113?NodePreference=follower", "leader"),
        ("kurrentdb://user:hidden@node:2113?Colour=blue", "COLOUR"),
        ("kurrentdb://user:hidden@node:2113?DefaultDeadline=soon", "soon"),
        ("kurrentdb+discover://user:hidden@one:2113,two:2113", "does not understand"),
        ("kurrentdb://user:hidden@[node:2113", "no URL"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_at_once_and_without_the_password(url: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        open_store(url, CLOCK)
    assert "hidden" not in str(refused.value)


def test_what_is_known_of_an_address_shows_no_password() -> None:
    found = address(f"kdb://admin:{quote(PASSWORD, safe='')}@node:2113", read_only=False)
    assert (found.nodes, found.username, found.password) == ("node:2113", "admin", PASSWORD)
    assert "s3cr3t" not in repr(found)
    assert found.node("other", 2114).startswith("kurrentdb://admin:")


def test_the_url_may_set_the_deadline_of_calls() -> None:
    assert address("kdb://node?Tls=false&DefaultDeadline=3", read_only=False).deadline_s == 3


@pytest.mark.parametrize(
    "order",
    [
        "import kurrentdbclient, services.rpc.errors, services.rpc.service, services.eventstore.kurrentdb.store",
        "import services.rpc.service, services.rpc.errors, kurrentdbclient, services.eventstore.kurrentdb.store",
        "import services.cli.entry, meterlog.client, kurrentdbclient",
    ],
)
def test_the_client_and_our_services_live_in_one_process(order: str) -> None:
    """The client registers symbols of google.rpc.code_pb2 for itself: who imports that module, too, cannot start."""
    program = f"{order}\nimport sys\nassert 'google.rpc.code_pb2' not in sys.modules"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=paths())
    assert finished.returncode == 0, finished.stderr


def paths() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return {"PYTHONPATH": ":".join(str(root / part) for part in (".", "proto/gen", "sdk/python"))}


def test_a_missing_client_is_named_with_the_extra_to_install() -> None:
    program = """
import sys
from services.eventstore.open import open_store
from services.kernel.clock import SystemClock
from services.kernel.errors import InvalidInput
sys.modules["kurrentdbclient"] = None
try:
    open_store("kurrentdb://node?Tls=false", SystemClock())
except InvalidInput as refused:
    print(refused)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=paths())
    assert "install meterlog[kurrentdb]" in finished.stdout, finished.stderr
