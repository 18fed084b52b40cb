"""Answers a stream of batches in its order, several at once under way, and reads no further than can be taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import DecodeError

from services.kernel.errors import DomainError, InvalidInput, Unavailable

BATCHES_UNDER_WAY_MAX: Final = 16

Request = TypeVar("Request")
Response = TypeVar("Response")


class Draining:
    """Whether the service is about to stop: then streams are read no further, and what was read is answered."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """From now on. Belongs to the event loop."""
        self._begun.set()

    async def wait(self) -> None:
        """Return when it has begun; for as long as the stream lasts."""
        await self._begun.wait()


@dataclass(frozen=True, slots=True)
class Entry:
    """That a batch was let in, and counts until `leave` is called; or why it is refused."""

    leave: Callable[[], None]
    refused: DomainError | None = None


class BatchStream(Generic[Request, Response]):
    """One stream. `enter` lets a batch in when it may be begun; `answer` records it, and tells a refusal, too."""

    def __init__(
        self,
        enter: Callable[[Request], Awaitable[Entry]],
        answer: Callable[[Request, Entry], Awaitable[Response]],
        draining: Draining,
    ) -> None:
        self._enter = enter
        self._answer = answer
        self._draining = draining
        self._answers: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue()
        self._may_begin = asyncio.Semaphore(BATCHES_UNDER_WAY_MAX)

    async def answers(self, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        """The answer to each request, in order, until the producer has no more.

        Raises Unavailable behind the last answer when the service stops: what was sent after that is not read. Raises
        InvalidInput (MESSAGE_UNREADABLE) behind the answers to what stood before a message that is none.
        """
        reading = asyncio.create_task(self._read(requests))
        stopping = asyncio.create_task(self._stop(reading))
        try:
            while (answer := await self._answers.get()) is not None:
                yield await answer
                self._may_begin.release()
            if reading.cancelled():
                raise Unavailable("the service stops; send what was not answered again, on another connection")
            await reading
        finally:
            stopping.cancel()
            reading.cancel()
            self._cancel_answers()

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        try:
            async for request in requests:
                await self._may_begin.acquire()
                self._begin(request, await self._enter(request))
        except DecodeError as error:
            raise InvalidInput(
                "a message of the stream cannot be read, nor what stands behind it; send what was not answered again",
                reason="MESSAGE_UNREADABLE",
            ) from error
        finally:
            self._answers.put_nowait(None)

    def _begin(self, request: Request, entry: Entry) -> None:
        answer = asyncio.create_task(self._begun(request, entry))
        answer.add_done_callback(lambda _: entry.leave())  # also when it is cancelled before its first step
        self._answers.put_nowait(answer)

    async def _begun(self, request: Request, entry: Entry) -> Response:
        return await self._answer(request, entry)

    async def _stop(self, reading: "asyncio.Task[None]") -> None:
        await self._draining.wait()
        reading.cancel()

    def _cancel_answers(self) -> None:
        while not self._answers.empty():
            answer = self._answers.get_nowait()
            if answer is not None:
                answer.cancel()
