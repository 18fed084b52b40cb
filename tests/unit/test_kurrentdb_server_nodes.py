"""Nodes of the KurrentDB protocol server: leader and followers, restarts, what a kill leaves, TLS and users."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import (
    AccessDeniedError,
    KurrentDBClientError,
    NodeIsNotLeaderError,
    ServiceUnavailableError,
    UnauthenticatedError,
)

from tests.kurrentdb_server import EventLog, Journal, KurrentServer, Membership, Options, PortTaken
from tests.kurrentdb_server.certificates import certificates
from tests.kurrentdb_server.clients import KINDS, Client, connected, new_events

ANY, NO_STREAM = StreamState.ANY, StreamState.NO_STREAM
ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30.0


@contextmanager
def cluster(size: int = 3) -> Iterator[list[KurrentServer]]:
    """Nodes that share one log; the first leads."""
    log, membership = EventLog(), Membership()
    with ExitStack() as stack:
        yield [stack.enter_context(KurrentServer(log=log, membership=membership)) for _ in range(size)]


def cluster_url(nodes: list[KurrentServer], preference: str = "leader") -> str:
    targets = ",".join(node.target for node in nodes)
    return f"kurrentdb://{targets}?Tls=false&NodePreference={preference}&DiscoveryInterval=10"


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_finds_the_leader_among_its_seeds(kind: str) -> None:
    with cluster() as nodes, connected(cluster_url(nodes[::-1]), kind) as client:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        assert nodes[0].calls["BatchAppend"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_the_cluster_follows_the_leader(kind: str) -> None:
    with cluster() as nodes, connected(cluster_url(nodes), kind) as client:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        nodes[2].lead()
        client.append_to_stream("s-1", events=new_events("b"), current_version=0)
        assert (nodes[0].calls["BatchAppend"], nodes[2].calls["BatchAppend"]) == (2, 1)
        assert [event.type for event in client.get_stream("s-1")] == ["a", "b"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_one_follower_is_told_who_leads(kind: str) -> None:
    with cluster(2) as (leader, follower), connected(follower.url, kind) as client:
        with pytest.raises(NodeIsNotLeaderError) as refused:
            client.append_to_stream("s-1", events=new_events("a"), current_version=ANY)
        assert (refused.value.host, refused.value.port) == ("127.0.0.1", leader.port)
        with pytest.raises(NodeIsNotLeaderError):
            client.get_stream("s-1")


def test_a_follower_serves_reads_to_who_prefers_it() -> None:
    with cluster(2) as nodes, connected(cluster_url(nodes, "follower")) as client:
        with connected(nodes[0].url) as writer:
            writer.append_to_stream("s-1", events=new_events("a"), current_version=ANY)
        assert [event.type for event in client.get_stream("s-1")] == ["a"]
        assert nodes[1].calls["Read"] == 1


def test_without_a_leader_nobody_takes_writes() -> None:
    with cluster(2) as (leader, _follower), connected(leader.url) as client:
        leader.node.membership.leader = None
        with pytest.raises(KurrentDBClientError, match="No leader info"):
            client.append_to_stream("s-1", events=new_events("a"), current_version=ANY)
        leader.lead()
        client.append_to_stream("s-1", events=new_events("a"), current_version=ANY)


def test_a_new_leader_remembers_no_ids() -> None:
    with cluster(2) as nodes, connected(cluster_url(nodes)) as client:
        events = new_events("a")
        client.append_to_stream("s-1", events=events, current_version=ANY)
        nodes[1].lead()
        client.append_to_stream("s-1", events=events, current_version=ANY)
        assert nodes[0].log.stream("s-1").count == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_breaks_connections_and_keeps_the_log(kind: str) -> None:
    with KurrentServer() as server, connected(server.url, kind) as client:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        subscription = client.subscribe_to_all()
        assert next(subscription).type == "a"
        server.stop()
        with pytest.raises(KurrentDBClientError):
            next(subscription)
        with pytest.raises(ServiceUnavailableError):
            client.append_to_stream("s-1", events=new_events("x"), current_version=0)
        server.start()
        append_when_back(client, "s-1", new_events("b"), 0)
        assert [event.type for event in client.get_stream("s-1")] == ["a", "b"]


def append_when_back(client: Client, stream: str, events: list[NewEvent], expected: int) -> None:
    """A client whose connection broke waits up to a second before it tries again, and refuses calls until then."""
    for _ in range(100):
        try:
            client.append_to_stream(stream, events=events, current_version=expected)
        except ServiceUnavailableError:
            continue
        return
    raise AssertionError("never came back")


def test_two_servers_cannot_share_a_port() -> None:
    with KurrentServer() as server, pytest.raises(PortTaken), KurrentServer(port=server.port):
        pass


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    kept = tmp_path / "log"
    process, url = started(kept)
    try:
        with connected(url) as client:
            positions = [
                client.append_to_stream(f"s-{number % 3}", events=new_events("a", "b"), current_version=ANY)
                for number in range(30)
            ]
    finally:
        process.kill()
        process.communicate(timeout=START_TIMEOUT_S)
    process, url = started(kept)
    try:
        with connected(url) as client:
            read = list(client.read_all())
            assert [event.commit_position for event in read][1::2] == positions
            assert client.append_to_stream("s-0", events=new_events("c"), current_version=19) > positions[-1]
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=START_TIMEOUT_S)
    assert process.returncode == 0, output


def started(kept: Path) -> tuple["subprocess.Popen[str]", str]:
    """A server process and its URL."""
    command = [sys.executable, "-m", "tests.kurrentdb_server", "--port", "0", "--data", str(kept)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready kurrentdb://"), line
    return process, line.removeprefix("ready ").strip()


def test_a_torn_last_write_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    kept = tmp_path / "log"
    log = EventLog(journal=Journal(kept))
    with KurrentServer(log=log) as server, connected(server.url) as client:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        whole = kept.stat().st_size
        client.append_to_stream("s-1", events=new_events("b", "c"), current_version=0)
    log.close()
    content = kept.read_bytes()
    for size in (whole, whole + 1, whole + 20, len(content) - 1):
        kept.write_bytes(content[:size])
        lengths = []
        for _ in range(2):
            again = EventLog(journal=Journal(kept))
            assert [record.type for record in again.stream("s-1").records] == ["a"]
            lengths.append(again.length)
            again.close()
        assert lengths == [3, 4], "each opening adds its epoch behind what was whole"


def test_a_file_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    first = Journal(tmp_path / "log")
    with pytest.raises(BlockingIOError):
        Journal(tmp_path / "log")
    first.close()


def test_deletions_outlive_a_restart(tmp_path: Path) -> None:
    log = EventLog(journal=Journal(tmp_path / "log"))
    with KurrentServer(log=log) as server, connected(server.url) as client:
        for name in ("s-1", "s-2"):
            client.append_to_stream(name, events=new_events("a"), current_version=NO_STREAM)
        client.delete_stream("s-1", current_version=0)
        client.tombstone_stream("s-2", current_version=0)
    log.close()
    again = EventLog(journal=Journal(tmp_path / "log"))
    assert (again.stream("s-1").is_soft_deleted, again.stream("s-2").is_tombstoned) == (True, True)
    again.close()


@pytest.mark.parametrize("kind", KINDS)
def test_over_tls_the_right_user_is_let_in_and_others_are_not(kind: str, tmp_path: Path) -> None:
    made = certificates()
    authority = tmp_path / "authority.pem"
    authority.write_bytes(made.authority)
    options = Options(users={"admin": "right", "clerk": "also"})
    with KurrentServer(tls=made.server, options=options) as server:
        trusted = f"@{server.target}?TlsCaFile={authority}"
        with connected(f"kurrentdb://admin:right{trusted}", kind) as client:
            client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
            assert len(list(client.read_all())) == 1
        with connected(f"kurrentdb://admin:wrong{trusted}", kind) as client, pytest.raises(UnauthenticatedError):
            client.append_to_stream("s-1", events=new_events("b"), current_version=0)
        with connected(f"kurrentdb://clerk:also{trusted}", kind) as client:
            client.append_to_stream("s-1", events=new_events("b"), current_version=0)
            with pytest.raises(AccessDeniedError):
                list(client.read_all())


def test_a_certificate_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    authority = tmp_path / "other.pem"
    authority.write_bytes(certificates().authority)
    with KurrentServer(tls=certificates().server) as server:
        url = f"kurrentdb://admin:changeit@{server.target}?TlsCaFile={authority}"
        with connected(url) as client, pytest.raises(KurrentDBClientError):
            client.append_to_stream("s-1", events=new_events("a"), current_version=ANY)


def test_a_single_node_may_be_discovered() -> None:
    with KurrentServer() as server:
        client = KurrentDBClient(f"kurrentdb+discover://{server.target}?Tls=false")
        try:
            assert [member.state for member in client.read_gossip()] == ["NODE_STATE_LEADER"]
        finally:
            client.close()
