"""Threads that read, for a server that may end at any moment: nobody waits for them then."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """Some threads that do what they are given, the first first.

    Those of `concurrent.futures` are waited for when Python ends, and reading ten thousand records takes long.
    """

    def __init__(self, number: int, name: str) -> None:
        self._given: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        for each in range(number):
            threading.Thread(target=self._work, name=f"{name}-{each}", daemon=True).start()

    async def do(self, what: Callable[[], T]) -> T:
        """What a thread makes of it. Where nobody waits any more before it begins, it is not done."""
        return await asyncio.wrap_future(self.later(what))

    def later(self, what: Callable[[], T]) -> Future[T]:
        """Have it done some time."""
        future: Future[T] = Future()
        self._given.put((future, what))
        return future

    def _work(self) -> None:
        while True:
            future, what = self._given.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(what())
            except BaseException as error:  # It is raised where somebody waits for it.
                future.set_exception(error)
            del future, what
