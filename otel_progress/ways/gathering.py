"""`gather`: waiting for several things at once, so that it is known what waited for what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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
    gathered = _Gathered(awaitables)
    try:
        with gathered:
            results: Any = await asyncio.gather(
                *(gathered.futures[each] for each in awaitables), return_exceptions=return_exceptions
            )
            return results
    finally:
        del awaitables, gathered  # Else an exception would hold them by this frame, and its task the exception.


def _futures(awaitables: tuple[Any, ...]) -> dict[Any, asyncio.Future[Any]]:
    """What `asyncio.gather` would make of them, and as it does."""
    made: dict[Any, asyncio.Future[Any]] = {}
    loop: asyncio.AbstractEventLoop | None = None
    for each in awaitables:
        if each not in made:
            made[each] = future = asyncio.ensure_future(each, loop=loop)
            loop = loop or future.get_loop()
            if future is not each:
                setattr(future, "_log_destroy_pending", False)  # noqa: B010 - of asyncio: whoever waits for it is told
    return made


class _Gathered(Harmless[None]):
    """Notes at the start what the tasks follow that are made here, and at the end what follows them."""

    def __init__(self, awaitables: tuple[Any, ...]) -> None:
        self.futures = _futures(awaitables)
        self._around: Recorded | None = None

    def enter(self) -> None:
        """Note what they follow."""
        around = self._around = default.get().current()
        if around is not None:
            before = order.before(around)
            self._follows: dict[object, tuple[order.Followed, ...]] = {
                ref(future): () if future is each else before for each, future in self.futures.items()
            }
            for future, follows in self._follows.items():
                order.fork(around, future, follows)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Note what follows those that are done."""
        if self._around is not None:
            done: dict[object, tuple[order.Followed, ...]] = {
                ref(each): self._follows[ref(each)] for each in self.futures.values() if each.done()
            }
            order.join(self._around, done)
