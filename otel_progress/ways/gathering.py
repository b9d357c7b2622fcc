"""`gather`: waiting for several things at once, so that it is known what waited for what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar
from weakref import ref

from ..recording import default, order
from ..recording.faults import Harmless
from ..recording.live import Recorded

T = TypeVar("T")


async def gather(*awaitables: Awaitable[T], return_exceptions: bool = False) -> list[T]:
    """Await all of them at once, as `asyncio.gather` does, and have it recorded what followed what.

    The stages in each follow what ended before in the code that calls this, and what comes next there follows them.
    Of `asyncio.gather` itself, of task groups and of `asyncio.wait` nobody can tell, so nothing is said of these.

        await gather(write(shared), illustrate(shared))
        publish(shared)  # Follows both.

    Args:
        awaitables: coroutines, tasks or futures.
        return_exceptions: whether exceptions are among the results; else the first one is raised.

    Returns:
        The results, in the order of `awaitables`.
    """
    futures = {id(each): asyncio.ensure_future(each) for each in awaitables}
    with _Gathered(futures):
        results: Any = await asyncio.gather(
            *(futures[id(each)] for each in awaitables), return_exceptions=return_exceptions
        )
        return results


class _Gathered(Harmless[None]):
    """Notes at the start what the tasks follow that are made here, and at the end what follows them."""

    def __init__(self, futures: Mapping[int, asyncio.Future[Any]]) -> None:
        self._futures = futures
        self._around: Recorded | None = None

    def enter(self) -> None:
        """Note what they follow."""
        around = self._around = default.get().current()
        if around is not None:
            before = order.before(around)
            self._follows: dict[int, tuple[order.Followed, ...]] = {
                key: before if id(future) != key else () for key, future in self._futures.items()
            }
            for key, future in self._futures.items():
                order.fork(around, ref(future), self._follows[key])

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Note what follows those that are done."""
        if self._around is not None:
            done: dict[object, tuple[order.Followed, ...]] = {
                ref(future): self._follows[key] for key, future in self._futures.items() if future.done()
            }
            order.join(self._around, done)
