"""Threads for calls that last: as many as there are calls, up to a bound, and none keeps the process alive."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue
from typing import Any

THREADS_MAX = 512


class ElasticPool(ThreadPoolExecutor):
    """What grpc.server takes; beyond `threads_max` calls wait for a free thread."""

    def __init__(self, threads_max: int = THREADS_MAX) -> None:
        super().__init__(max_workers=1)
        self._threads_max = threads_max
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._starting = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it in a thread that waits, or in a new one."""
        future: Future[Any] = Future()
        self._tasks.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            self._start_thread()
        return future

    def _start_thread(self) -> None:
        with self._starting:
            if self._started == self._threads_max:
                return
            self._started += 1
            threading.Thread(target=self._run, name=f"kurrentdb-server-{self._started}", daemon=True).start()

    def _run(self) -> None:
        while True:
            future, task = self._tasks.get()
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
                raise
            self._idle.release()


@cache
def shared_pool() -> ElasticPool:
    """One for all servers of the process, so that its threads are used again."""
    return ElasticPool()
