"""A TCP proxy that can spoil connections: closed, delayed, cut in the middle of a message, or dead without a word."""

import contextlib
import random
import select
import socket
import threading
from dataclasses import dataclass, replace

CHUNK_BYTES = 16 * 1024
POLL_S = 0.02
CONNECT_TIMEOUT_S = 5.0
BACKLOG = 64
JOIN_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 200

Address = tuple[str, int] | str
"""Host and port, or the path of a socket file."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How connections fare. `cut_after_bytes` counts what passes in either direction from now on."""

    is_closed: bool = False
    """New connections are closed at once."""
    is_mute_upwards: bool = False
    """What clients send is not passed on, and they are not told: half of the connection is open."""
    is_mute_downwards: bool = False
    delay_s: float = 0.0
    """How long each piece waits before it is passed on."""
    cut_after_bytes: int | None = None


FAIR = Weather()


class FaultyProxy:
    """Passes bytes between clients on a free port of this machine and one server, as the weather allows."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._weather = FAIR
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._connections: list[_Connection] = []
        self._changing = threading.Lock()
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._accept_all, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    @property
    def weather(self) -> Weather:
        """As it is now."""
        return self._weather

    def set_weather(self, weather: Weather) -> None:
        """Change it for all connections, those that stand too."""
        self._weather = weather
        with self._changing:
            for connection in self._connections:
                connection.passed = 0

    def drop_all(self) -> None:
        """Break every connection that stands, as by a reset."""
        with self._changing:
            for connection in self._connections:
                connection.drop()

    def drop_some(self, chance: random.Random) -> None:
        """Break about half of them."""
        with self._changing:
            for connection in self._connections:
                if chance.random() < 0.5:
                    connection.drop()

    def clear_up(self) -> None:
        """Fair weather; what was stuck is broken, so that nobody waits for bytes that a fault ate."""
        self.set_weather(FAIR)
        self.drop_all()

    def close(self) -> None:
        """End everything."""
        self._is_ended.set()
        self.drop_all()
        self._listener.close()
        self._thread.join(JOIN_TIMEOUT_S)

    def _accept_all(self) -> None:
        while not self._is_ended.is_set():
            try:
                if not select.select([self._listener], [], [], POLL_S)[0]:
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):
                continue
            self._accept(client)

    def _accept(self, client: socket.socket) -> None:
        with self._changing:
            self._connections = [each for each in self._connections if not each.is_over.is_set()]
            is_full = len(self._connections) >= CONNECTIONS_MAX
        if self._weather.is_closed or is_full:
            _reset(client)
            return
        connection = _Connection(self, client)
        with self._changing:
            self._connections.append(connection)
        threading.Thread(target=connection.run, args=(self._server,), daemon=True).start()


class _Connection:
    """One client's connection, and its own to the server; one thread carries both directions."""

    def __init__(self, proxy: FaultyProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream: socket.socket | None = None
        self.is_over = threading.Event()
        self.passed = 0

    def drop(self) -> None:
        """Break it; the carrying thread notices."""
        self.is_over.set()

    def run(self, server: Address) -> None:
        try:
            self._upstream = _connected(server)
            self._carry(self._client, self._upstream)
        except (OSError, ValueError):
            pass
        finally:
            self.is_over.set()
            _reset(self._client)
            if self._upstream is not None:
                _reset(self._upstream)

    def _carry(self, client: socket.socket, upstream: socket.socket) -> None:
        while not self.is_over.is_set():
            ready = select.select(self._heard(client, upstream), [], [], POLL_S)[0]
            heard = self._heard(client, upstream)
            for source in ready:
                if source in heard and not self._pass_on(source, upstream if source is client else client):
                    return

    def _heard(self, client: socket.socket, upstream: socket.socket) -> list[socket.socket]:
        """Whom the weather lets speak now; asked again when somebody has spoken, because it may have changed."""
        weather = self._proxy.weather
        return ([] if weather.is_mute_upwards else [client]) + ([] if weather.is_mute_downwards else [upstream])

    def _pass_on(self, source: socket.socket, target: socket.socket) -> bool:
        """Whether the connection goes on."""
        weather = self._proxy.weather
        chunk = source.recv(CHUNK_BYTES)
        if not chunk:
            return False
        if weather.delay_s:
            self.is_over.wait(weather.delay_s)
        left = len(chunk) if weather.cut_after_bytes is None else max(0, weather.cut_after_bytes - self.passed)
        target.settimeout(CONNECT_TIMEOUT_S)
        target.sendall(chunk[:left])
        self.passed += len(chunk)
        return left >= len(chunk)


def _connected(server: Address) -> socket.socket:
    if isinstance(server, str):
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        upstream.settimeout(CONNECT_TIMEOUT_S)
        try:
            upstream.connect(server)
        except OSError:
            upstream.close()
            raise
        return upstream
    return socket.create_connection(server, timeout=CONNECT_TIMEOUT_S)


def _reset(connection: socket.socket) -> None:
    """Close it so that the peer sees a reset, not an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    with contextlib.suppress(OSError):
        connection.close()


def stormy(chance: random.Random) -> tuple[str, Weather]:
    """Some bad weather and its name."""
    kinds = {
        "connections refused": Weather(is_closed=True),
        "every message delayed": Weather(delay_s=chance.uniform(0.01, 0.2)),
        "half open: nothing reaches the server": Weather(is_mute_upwards=True),
        "half open: nothing reaches the clients": Weather(is_mute_downwards=True),
        "partitioned": Weather(is_mute_upwards=True, is_mute_downwards=True, is_closed=True),
        "cut after some bytes": Weather(cut_after_bytes=chance.randrange(1, 30_000)),
    }
    name = chance.choice(sorted(kinds))
    return name, replace(kinds[name])
