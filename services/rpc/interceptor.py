"""What happens around every call: the caller is authorised, waiting is bounded, errors are mapped, one line is logged.

A handler written as `def` runs in a thread pool and may block; one written as `async def` runs on the event loop and
must not.
"""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
import structlog
from grpc.aio import ServicerContext

from services.kernel.clock import monotonic_s
from services.kernel.errors import DomainError, TimedOut
from services.rpc.authorization import API_KEY_METADATA, Authorizer, Caller
from services.rpc.deadline import CALL_TIMEOUT_S
from services.rpc.errors import DETAILS_KEY, shortened, status_code, status_details

HANDLER_THREADS_MAX = 32

Handler = Callable[[Any, Any], Any]

caller_of_call: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")
"""Who makes the call that runs now; set before every handler."""

log = structlog.get_logger()

_REWRAP: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler, whichever side streams."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._pool = ThreadPoolExecutor(HANDLER_THREADS_MAX, thread_name_prefix="call")
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, wrapped once."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: Any) -> Any:
        if handler.response_streaming:
            behaviour = handler.stream_stream or handler.unary_stream
            around = self._writing if inspect.iscoroutinefunction(behaviour) else self._stream
        else:
            behaviour = self._awaitable(handler.stream_unary or handler.unary_unary)
            around = self._unary
        rewrap = _REWRAP[handler.request_streaming, handler.response_streaming]
        return rewrap(
            functools.partial(around, method, behaviour),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def close(self) -> None:
        """Start no further call in the thread pool."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _unary(self, method: str, handler: Handler, request: Any, context: ServicerContext[Any, Any]) -> Any:
        started = monotonic_s()
        try:
            self._authorize(method, context)
            answer = handler(request, context)
            response = await (answer if context.time_remaining() is not None else _answer_in_time(answer))
        except (asyncio.CancelledError, GeneratorExit):
            _log_outcome(method, "CANCELLED", started)
            raise
        except DomainError as error:
            await _fail(method, error, started, context)
        except Exception as error:  # noqa: BLE001 (the outermost loop: an unforeseen error must not leak its text)
            await _crash(method, error, started, context)
        _log_outcome(method, "OK", started)
        return response

    async def _stream(
        self, method: str, handler: Handler, request: Any, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        started = monotonic_s()
        try:
            self._authorize(method, context)
            responses = handler(request, context)
            async for response in self._in_pool(responses) if isinstance(responses, Iterator) else responses:
                yield response
        except (asyncio.CancelledError, GeneratorExit):
            _log_outcome(method, "CANCELLED", started)
            raise
        except DomainError as error:
            await _fail(method, error, started, context)
        except Exception as error:  # noqa: BLE001 (as above)
            await _crash(method, error, started, context)
        _log_outcome(method, "OK", started)

    async def _writing(self, method: str, handler: Handler, request: Any, context: ServicerContext[Any, Any]) -> None:
        """Around a coroutine that writes its responses to the context itself, as the health service's Watch does."""
        started = monotonic_s()
        try:
            self._authorize(method, context)
            await handler(request, context)
        except DomainError as error:
            await _fail(method, error, started, context)

    def _authorize(self, method: str, context: ServicerContext[Any, Any]) -> None:
        caller_of_call.set(self._authorizer.authorize(method, "" if self._authorizer.is_open else _api_key(context)))

    def _awaitable(self, handler: Handler) -> Handler:
        """The handler as one whose answer is awaited, wherever it runs."""
        if inspect.iscoroutinefunction(handler):
            return handler
        return lambda request, context: self._call_in_pool(functools.partial(handler, request, context))

    def _call_in_pool(self, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)

    async def _in_pool(self, responses: Iterator[Any]) -> AsyncIterator[Any]:
        end = object()
        while (response := await self._call_in_pool(functools.partial(next, responses, end))) is not end:
            yield response


def _api_key(context: ServicerContext[Any, Any]) -> str:
    """The first key that the caller sent; empty for none."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == API_KEY_METADATA), "")


async def _answer_in_time(answer: Awaitable[Any]) -> Any:
    """The answer to a caller who set no deadline."""
    try:
        return await asyncio.wait_for(answer, CALL_TIMEOUT_S)
    except TimeoutError:
        raise TimedOut(f"no answer within {CALL_TIMEOUT_S:.0f} s; set a deadline, or repeat later") from None


async def _fail(method: str, error: DomainError, started: float, context: ServicerContext[Any, Any]) -> NoReturn:
    code = status_code(error)
    _log_outcome(method, code.name, started, reason=error.reason, message=error.message[:500])
    await context.abort(code, shortened(error.message), ((DETAILS_KEY, status_details(error)),))
    raise AssertionError("unreachable: abort raises")


async def _crash(method: str, error: Exception, started: float, context: ServicerContext[Any, Any]) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    log.error("call crashed", method=method, duration_ms=_since_ms(started), exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "an unforeseen error; the service's log tells more")
    raise AssertionError("unreachable: abort raises")


def _log_outcome(method: str, code: str, started: float, **fields: str) -> None:
    if not method.startswith("/grpc."):
        log.info("call", method=method, code=code, duration_ms=_since_ms(started), **fields)


def _since_ms(started: float) -> float:
    return round((monotonic_s() - started) * 1000, 1)
