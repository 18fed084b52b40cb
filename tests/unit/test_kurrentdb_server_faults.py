"""Faults of the KurrentDB protocol server: each does what its name says, as often as it was armed for."""

from collections.abc import Callable, Iterable, Iterator

import pytest
from kurrentdbclient import NewEvent, RecordedEvent, StreamState
from kurrentdbclient.exceptions import (
    AbortedByServerError,
    AppendDeadlineExceededError,
    ConsumerTooSlowError,
    GrpcDeadlineExceededError,
    InternalError,
    KurrentDBClientError,
    NodeIsNotLeaderError,
    ServiceUnavailableError,
)

from tests.kurrentdb_server import Fault, Faults, KurrentServer
from tests.kurrentdb_server.clients import KINDS, BlockingClient, Client, connected, new_events
from tests.patience import in_time, patiently

NO_STREAM = StreamState.NO_STREAM

# The clients try twice, and each time once more on a new connection.
CLIENT_TRIES = 4


@pytest.fixture
def server() -> Iterator[KurrentServer]:
    with KurrentServer() as started:
        yield started


@pytest.fixture(params=KINDS)
def client(server: KurrentServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with connected(server.url, request.param) as connection:
        yield connection


def stored(server: KurrentServer, stream: str = "s-1") -> int:
    return server.log.stream(stream).count


def types_until(error: type[Exception], events: Iterable[RecordedEvent]) -> list[str]:
    """What came before the error that must come."""
    seen: list[str] = []
    with pytest.raises(error):
        seen.extend(event.type for event in events)
    return seen


def append_until(deadline_s: float, client: Client) -> None:
    """Append, and give up at the deadline.

    When a deadline passes while a request is still being written, grpc.aio forgets the status and tells of an internal
    error (grpc/grpc issue 36066): the request had not arrived.
    """
    try:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM, timeout=deadline_s)
    except InternalError as error:
        in_time("from Core" not in str(error))
        raise


def test_unavailable_before_the_commit_writes_nothing(server: KurrentServer, client: Client) -> None:
    server.faults.arm(Fault.UNAVAILABLE_BEFORE_COMMIT, times=CLIENT_TRIES)
    with pytest.raises(ServiceUnavailableError):
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    assert stored(server) == 0


def test_unavailable_after_the_commit_loses_the_answer_only(server: KurrentServer, client: Client) -> None:
    server.faults.arm(Fault.UNAVAILABLE_AFTER_COMMIT, times=CLIENT_TRIES)
    with pytest.raises(ServiceUnavailableError):
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    assert stored(server) == 1


def test_a_client_that_repeats_gets_the_lost_answer(server: KurrentServer, client: Client) -> None:
    server.faults.arm(Fault.UNAVAILABLE_AFTER_COMMIT)
    position = client.append_to_stream("s-1", events=new_events("a", "b"), current_version=NO_STREAM)
    assert position == client.get_stream("s-1")[1].commit_position
    assert server.faults.struck(Fault.UNAVAILABLE_AFTER_COMMIT) == 1


@pytest.mark.parametrize(("fault", "written"), [(Fault.SILENT_BEFORE_COMMIT, 0), (Fault.SILENT_AFTER_COMMIT, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_silence_lasts_until_the_caller_gives_up(kind: str, fault: Fault, written: int) -> None:
    def silence(deadline_s: float) -> None:
        with KurrentServer() as server, connected(server.url, kind) as client:
            server.faults.arm(fault, times=CLIENT_TRIES)
            with pytest.raises(GrpcDeadlineExceededError):
                append_until(deadline_s, client)
            in_time(server.faults.struck(fault) > 0)
            assert stored(server) == written

    patiently(silence)


@pytest.mark.parametrize(("fault", "written"), [(Fault.RESET_BEFORE_COMMIT, 0), (Fault.RESET_AFTER_COMMIT, 1)])
def test_a_call_that_is_reset_leaves_open_what_happened(
    server: KurrentServer, client: Client, fault: Fault, written: int
) -> None:
    server.faults.arm(fault, times=CLIENT_TRIES)
    with pytest.raises(InternalError, match="RST_STREAM"):
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    assert stored(server) == written


@pytest.mark.parametrize(("fault", "written"), [(Fault.TIMEOUT_BEFORE_COMMIT, 0), (Fault.TIMEOUT_AFTER_COMMIT, 1)])
def test_a_timeout_of_the_cluster_leaves_open_what_happened(fault: Fault, written: int) -> None:
    with KurrentServer() as server, connected(server.url) as client:
        server.faults.arm(fault, times=CLIENT_TRIES)
        with pytest.raises(AppendDeadlineExceededError):
            client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        server.faults.arm(fault, times=CLIENT_TRIES)
        with pytest.raises(AbortedByServerError, match="Operation timed out"):
            client.append_to_stream("s-2", events=new_events("a")[0], current_version=NO_STREAM)
        assert (stored(server, "s-1"), stored(server, "s-2")) == (written, written)


def test_a_server_that_is_not_ready_says_so(server: KurrentServer) -> None:
    with connected(server.url) as client:
        server.faults.arm(Fault.NOT_READY, times=CLIENT_TRIES)
        with pytest.raises(KurrentDBClientError, match="Server Is Not Ready"):
            client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
        server.faults.arm(Fault.NOT_READY, times=CLIENT_TRIES)
        with pytest.raises(ServiceUnavailableError, match="Server Is Not Ready"):
            client.append_to_stream("s-1", events=new_events("a")[0], current_version=NO_STREAM)
    assert stored(server) == 0


def test_a_node_that_leads_no_more_names_the_leader(server: KurrentServer, client: Client) -> None:
    server.faults.arm(Fault.NOT_LEADER, times=CLIENT_TRIES)
    with pytest.raises(NodeIsNotLeaderError) as refused:
        client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    assert (refused.value.host, refused.value.port) == ("127.0.0.1", server.port)
    assert stored(server) == 0


def test_a_slow_commit_is_still_one(server: KurrentServer, client: Client) -> None:
    server.faults.arm(Fault.SLOW_COMMIT, amount=0.05)
    assert client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM) > 0
    assert server.faults.struck(Fault.SLOW_COMMIT) == 1


def test_a_commit_may_come_after_its_caller_gave_up() -> None:
    def late(deadline_s: float) -> None:
        with KurrentServer() as server, connected(server.url) as client:
            server.faults.arm(Fault.SLOW_COMMIT, times=2, amount=2 * deadline_s)
            with pytest.raises(GrpcDeadlineExceededError):
                append_until(deadline_s, client)
            in_time(server.faults.struck(Fault.SLOW_COMMIT) > 0)
            server.log.wait_for_news(server.log.length, lambda: stored(server) == 0)
            assert stored(server) == 1

    patiently(late)


def test_a_running_subscription_can_be_cut(server: KurrentServer, client: Client) -> None:
    client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    subscription = client.subscribe_to_all()
    assert next(subscription).type == "a"
    server.cut_subscriptions()
    assert types_until(ServiceUnavailableError, subscription) == []


def test_a_subscription_may_fall_silent(server: KurrentServer) -> None:
    def silence(deadline_s: float) -> None:
        server.faults.arm(Fault.SUBSCRIPTION_SILENT, times=CLIENT_TRIES)
        seen = types_until(GrpcDeadlineExceededError, client.subscribe_to_all(timeout=deadline_s))
        in_time(len(seen) > 0)
        assert seen == ["a"]

    with connected(server.url) as client:
        client.append_to_stream("s-1", events=new_events("a", "b"), current_version=NO_STREAM)
        patiently(silence)


def test_a_read_is_cut_after_so_many_events(server: KurrentServer, client: Client) -> None:
    """The asyncio client throws away what it had not handed over yet, so that fewer may come, but in order."""
    client.append_to_stream("s-1", events=new_events(*"abcde"), current_version=NO_STREAM)
    server.faults.arm(Fault.READ_CUT, amount=2)
    seen = types_until(ServiceUnavailableError, client.read_all())
    assert seen == ["a", "b"][: len(seen)]
    assert len(seen) == 2 or isinstance(client, BlockingClient)


def test_a_read_falls_silent_after_so_many_events(server: KurrentServer) -> None:
    def silence(deadline_s: float) -> None:
        server.faults.arm(Fault.READ_SILENT, times=CLIENT_TRIES, amount=3)
        seen = types_until(GrpcDeadlineExceededError, client.read_stream("s-1", timeout=deadline_s))
        in_time(len(seen) >= 3)
        assert seen == ["a", "b", "c"]

    with connected(server.url) as client:
        client.append_to_stream("s-1", events=new_events(*"abcde"), current_version=NO_STREAM)
        patiently(silence)


def test_a_read_may_find_no_server(server: KurrentServer, client: Client) -> None:
    client.append_to_stream("s-1", events=new_events("a"), current_version=NO_STREAM)
    server.faults.arm(Fault.READ_UNAVAILABLE)
    assert len(client.get_stream("s-1")) == 1
    server.faults.arm(Fault.READ_UNAVAILABLE)
    with pytest.raises(ServiceUnavailableError):
        list(client.read_all())


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.SUBSCRIPTION_CUT, ServiceUnavailableError), (Fault.CONSUMER_TOO_SLOW, ConsumerTooSlowError)],
)
def test_a_subscription_ends_after_so_many_events(
    server: KurrentServer, client: Client, fault: Fault, error: type[Exception]
) -> None:
    client.append_to_stream("s-1", events=new_events(*"abcde"), current_version=NO_STREAM)
    server.faults.arm(fault, amount=3)
    seen = types_until(error, client.subscribe_to_all())
    assert seen == ["a", "b", "c"][: len(seen)]
    assert len(seen) == 3 or isinstance(client, BlockingClient)


def test_a_resumed_subscription_repeats_what_was_told(server: KurrentServer, client: Client) -> None:
    client.append_to_stream("s-1", events=new_events(*"abcde"), current_version=NO_STREAM)
    position = client.get_stream("s-1")[2].commit_position
    server.faults.arm(Fault.SUBSCRIPTION_REPEATS, amount=2)
    subscription = client.subscribe_to_all(commit_position=position)
    assert [next(subscription).type for _ in range(4)] == ["b", "c", "d", "e"]
    subscription.stop()


def test_a_fault_lets_so_many_calls_pass_first(server: KurrentServer) -> None:
    with connected(server.url) as client:
        server.faults.arm(Fault.UNAVAILABLE_BEFORE_COMMIT, after=2, times=CLIENT_TRIES)
        for name in ("s-1", "s-2"):
            client.append_to_stream(name, events=new_events("a"), current_version=NO_STREAM)
        with pytest.raises(ServiceUnavailableError):
            client.append_to_stream("s-3", events=new_events("a"), current_version=NO_STREAM)
        server.faults.clear()
        client.append_to_stream("s-3", events=new_events("a"), current_version=NO_STREAM)


def test_the_same_seed_strikes_the_same_calls() -> None:
    def strikes(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.rate(Fault.NOT_READY, 0.5)
        return [faults.strike(Fault.NOT_READY) is not None for _ in range(64)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 0 < sum(strikes(1)) < 64


def test_no_append_happens_twice_however_answers_are_lost(server: KurrentServer) -> None:
    faults: tuple[Callable[[], None], ...] = (
        lambda: server.faults.rate(Fault.UNAVAILABLE_AFTER_COMMIT, 0.3),
        lambda: server.faults.rate(Fault.UNAVAILABLE_BEFORE_COMMIT, 0.3),
    )
    for switch_on in faults:
        switch_on()
    with connected(server.url) as client:
        for revision in range(15):
            append_until_answered(client, revision, new_events("a", "b"))
    server.faults.clear()
    assert stored(server) == 30


def append_until_answered(client: Client, number: int, events: list[NewEvent]) -> None:
    expected = NO_STREAM if number == 0 else 2 * number - 1
    for _ in range(100):
        try:
            client.append_to_stream("s-1", events=events, current_version=expected)
        except ServiceUnavailableError:
            continue
        return
    raise AssertionError("never answered")
