"""The faulty proxy: bytes pass in fair weather, and each kind of bad weather does what its name says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.crash.proxy import FAIR, FaultyProxy, Weather

TIMEOUT_S = 120.0
SILENCE_S = 0.2


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    """In front of a server that answers with what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=echo_all, args=(listener,), daemon=True).start()
    opened = FaultyProxy(listener.getsockname())
    yield opened
    opened.close()
    listener.close()


def echo_all(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=echo, args=(accepted,), daemon=True).start()


def echo(accepted: socket.socket) -> None:
    with suppress(OSError), closing(accepted):
        while chunk := accepted.recv(4096):
            accepted.sendall(chunk)


def connected(proxy: FaultyProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_S)


def answer(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    got = b""
    while len(got) < len(text) and (chunk := client.recv(4096)):
        got += chunk
    return got


def is_broken(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionError:
        return True


def is_refused(proxy: FaultyProxy) -> bool:
    """The reset may come before the connection is even known to be open."""
    try:
        with closing(connected(proxy)) as client:
            return is_broken(client)
    except ConnectionError:
        return True


def test_bytes_pass_in_fair_weather(proxy: FaultyProxy) -> None:
    text = bytes(range(256)) * 1000
    with closing(connected(proxy)) as client:
        assert answer(client, text) == text


def test_a_refused_connection_is_reset_and_later_ones_pass(proxy: FaultyProxy) -> None:
    proxy.set_weather(Weather(is_closed=True))
    assert is_refused(proxy)
    proxy.set_weather(FAIR)
    with closing(connected(proxy)) as client:
        assert answer(client, b"again") == b"again"


@pytest.mark.parametrize("weather", [Weather(is_mute_upwards=True), Weather(is_mute_downwards=True)])
def test_a_half_open_connection_is_silent_and_goes_on_afterwards(proxy: FaultyProxy, weather: Weather) -> None:
    with closing(connected(proxy)) as client:
        assert answer(client, b"before") == b"before"
        proxy.set_weather(weather)
        client.sendall(b"into the void")
        client.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.set_weather(FAIR)
        client.settimeout(TIMEOUT_S)
        assert client.recv(4096) == b"into the void"


def test_a_connection_is_cut_in_the_middle_of_a_message(proxy: FaultyProxy) -> None:
    proxy.set_weather(Weather(cut_after_bytes=5))
    with closing(connected(proxy)) as client:
        got = b""
        with suppress(ConnectionError):
            got = answer(client, b"much more than five")
        assert len(got) < 5 + 1


def test_connections_that_stand_are_broken(proxy: FaultyProxy) -> None:
    with closing(connected(proxy)) as client:
        assert answer(client, b"before") == b"before"
        proxy.drop_all()
        assert is_broken(client)
