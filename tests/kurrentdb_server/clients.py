"""Both clients of the package behind the same calls, so that one test tries both."""

import asyncio
import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from kurrentdbclient import AsyncKurrentDBClient, KurrentDBClient, NewEvent, RecordedEvent, StreamState

KINDS = ("sync", "asyncio")
WAIT_S = 60.0

Version = int | StreamState


@cache
def lasting_loop() -> asyncio.AbstractEventLoop:
    """One for the process: what polls for the asyncio client outlives a loop that is closed, and complains."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


class BlockingSubscription:
    """An asyncio subscription or read, one event at a time; each is waited for WAIT_S at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: Any) -> None:
        self._loop = loop
        self._events = events

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self

    def __next__(self) -> RecordedEvent:
        try:
            event: RecordedEvent = self._loop.run_until_complete(asyncio.wait_for(self._events.__anext__(), WAIT_S))
        except StopAsyncIteration as end:
            raise StopIteration from end
        return event

    def stop(self) -> None:
        """Read no further."""
        self._loop.run_until_complete(self._events.stop())


class BlockingClient:
    """The asyncio client with the calls of the other one."""

    def __init__(self, url: str) -> None:
        self._loop = lasting_loop()
        self._client = AsyncKurrentDBClient(url)
        self._loop.run_until_complete(self._client.connect())

    def append_to_stream(
        self,
        stream_name: str,
        *,
        events: NewEvent | Sequence[NewEvent],
        current_version: Version,
        timeout: float = WAIT_S,
    ) -> int:
        """The commit position of the last event."""
        appending = self._client.append_to_stream(
            stream_name, events=events, current_version=current_version, timeout=timeout
        )
        return self._loop.run_until_complete(appending)

    def get_stream(self, stream_name: str, **choice: Any) -> Sequence[RecordedEvent]:
        """Events of one stream."""
        return self._loop.run_until_complete(self._client.get_stream(stream_name, **choice))

    def read_all(self, **choice: Any) -> BlockingSubscription:
        """Events of the log."""
        return BlockingSubscription(self._loop, self._loop.run_until_complete(self._client.read_all(**choice)))

    def get_commit_position(self) -> int:
        """Where the newest event of a client stands."""
        return self._loop.run_until_complete(self._client.get_commit_position())

    def subscribe_to_all(self, **choice: Any) -> BlockingSubscription:
        """Follow the log."""
        return BlockingSubscription(self._loop, self._loop.run_until_complete(self._client.subscribe_to_all(**choice)))

    def subscribe_to_stream(self, stream_name: str, **choice: Any) -> BlockingSubscription:
        """Follow one stream."""
        subscribing = self._client.subscribe_to_stream(stream_name, **choice)
        return BlockingSubscription(self._loop, self._loop.run_until_complete(subscribing))

    def delete_stream(self, stream_name: str, *, current_version: Version) -> None:
        """Softly."""
        self._loop.run_until_complete(self._client.delete_stream(stream_name, current_version=current_version))

    def tombstone_stream(self, stream_name: str, *, current_version: Version) -> None:
        """For good."""
        self._loop.run_until_complete(self._client.tombstone_stream(stream_name, current_version=current_version))

    def close(self) -> None:
        """Let go of the connection."""
        self._loop.run_until_complete(self._client.close())


Client = KurrentDBClient | BlockingClient


@contextmanager
def connected(url: str, kind: str = "sync") -> Iterator[Client]:
    """One of the two clients, closed at the end."""
    client: Client = KurrentDBClient(url) if kind == "sync" else BlockingClient(url)
    try:
        yield client
    finally:
        client.close()


def new_events(*types: str, body: bytes = b"\x00\xff") -> list[NewEvent]:
    """One new event for each type."""
    return [NewEvent(type=event_type, data=body, content_type="application/octet-stream") for event_type in types]
