"""Asks questions over a synchronous or an asyncio channel: with a time limit, and again when nobody answered."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message

from meterlog.client.channel import Channels, Connection
from meterlog.client.errors import CallFailed
from meterlog.client.failure import failure_of
from meterlog.client.question import Pages, Question

A = TypeVar("A")

TRIES_MAX = 3
PAUSE_S = 0.1
_RETRIED = "UNAVAILABLE"
_TIME_OVER = "DEADLINE_EXCEEDED"


class Asking:
    """Asks from threads."""

    def __init__(self, connection: Connection, channels: "Channels[grpc.Channel]") -> None:
        self._connection = connection
        self._channels = channels

    def one(self, question: Question[A], timeout_s: float) -> A:
        """The answer; raises CallFailed. A service that does not answer is tried TRIES_MAX times."""
        for tries in range(1, TRIES_MAX + 1):
            try:
                return question.read(self._call(question, timeout_s))
            except grpc.RpcError as error:
                failed = CallFailed(failure_of(error))
                if failed.failure.status != _RETRIED or tries == TRIES_MAX:
                    raise failed from error
                threading.Event().wait(PAUSE_S * tries)
        raise AssertionError("every try returns or raises")

    def every(self, pages: Pages[A], timeout_s: float) -> Iterator[A]:
        """The items of all pages, one page at a time; raises CallFailed. `timeout_s` is that of one page."""
        question = pages.first
        while True:
            items, token = self.one(_with_token(question), timeout_s)
            yield from items
            if not token:
                return
            question = _turned_to(question, token)

    def stream(self, question: Question[A], timeout_s: float | None) -> Iterator[A]:
        """The answers as they come, until the time limit or the end; raises CallFailed."""
        channel = self._channels.get(_address(self._connection, question))
        method = channel.unary_stream(question.path, _serialized, question.response.FromString)
        call = method(question.request, timeout=timeout_s, metadata=self._connection.metadata)
        try:
            for response in call:
                yield question.read(response)
        except grpc.RpcError as error:
            failure = failure_of(error)
            if failure.status != _TIME_OVER or timeout_s is None:
                raise CallFailed(failure) from error
        finally:
            call.cancel()

    def _call(self, question: Question[A], timeout_s: float) -> Message:
        channel = self._channels.get(_address(self._connection, question))
        method = channel.unary_unary(question.path, _serialized, question.response.FromString)
        return method(question.request, timeout=timeout_s, metadata=self._connection.metadata)


class AsyncAsking:
    """Asks from an event loop."""

    def __init__(self, connection: Connection, channels: "Channels[grpc.aio.Channel]") -> None:
        self._connection = connection
        self._channels = channels

    async def one(self, question: Question[A], timeout_s: float) -> A:
        """As `Asking.one`."""
        for tries in range(1, TRIES_MAX + 1):
            try:
                return question.read(await self._call(question, timeout_s))
            except grpc.aio.AioRpcError as error:
                failed = CallFailed(failure_of(error))
                if failed.failure.status != _RETRIED or tries == TRIES_MAX:
                    raise failed from error
                await asyncio.sleep(PAUSE_S * tries)
        raise AssertionError("every try returns or raises")

    async def every(self, pages: Pages[A], timeout_s: float) -> AsyncIterator[A]:
        """As `Asking.every`."""
        question = pages.first
        while True:
            items, token = await self.one(_with_token(question), timeout_s)
            for item in items:
                yield item
            if not token:
                return
            question = _turned_to(question, token)

    async def stream(self, question: Question[A], timeout_s: float | None) -> AsyncIterator[A]:
        """As `Asking.stream`."""
        channel = self._channels.get(_address(self._connection, question))
        method = channel.unary_stream(question.path, _serialized, question.response.FromString)
        call = method(question.request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for response in call:
                yield question.read(response)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            if failure.status != _TIME_OVER or timeout_s is None:
                raise CallFailed(failure) from error
        finally:
            call.cancel()

    async def _call(self, question: Question[A], timeout_s: float) -> Message:
        channel = self._channels.get(_address(self._connection, question))
        method = channel.unary_unary(question.path, _serialized, question.response.FromString)
        return await method(question.request, timeout=timeout_s, metadata=self._metadata)

    @property
    def _metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*self._connection.metadata)


def _address(connection: Connection, question: Question[Any]) -> str:
    return cast(str, getattr(connection, question.server))


def _with_token(question: Question[Sequence[A]]) -> "Question[tuple[Sequence[A], str]]":
    """The same question, whose answer is the items and the token of the next page."""
    return Question(
        question.server,
        question.path,
        question.request,
        question.response,
        lambda response: (question.read(response), response.next_page_token),
    )


def _turned_to(question: Question[A], token: str) -> Question[A]:
    request = type(question.request)()
    request.CopyFrom(question.request)
    cast(Any, request).page_token = token
    return replace(question, request=request)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
