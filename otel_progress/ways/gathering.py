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
    gathered = _Gathered()
    try:
        with gathered.making:
            gathered.futures = _futures(awaitables)
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


class _Making(Harmless[None]):
    """The tasks are made: an eager one begins at once."""

    around: Recorded | None = None
    follows: tuple[order.Followed, ...] = ()
    _before: object = (None,)

    def enter(self) -> None:
        """Note what they follow."""
        self.around = default.recorder.current()
        self.follows, self._before = order.begin_to_fork(self.around)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Whatever begins now is none of them."""
        order.end_to_fork(self._before)


class _Gathered(Harmless[None]):
    """Notes at the start what the tasks follow that were made here, and at the end what follows them."""

    def __init__(self) -> None:
        self.making = _Making()
        self.futures = dict[Any, asyncio.Future[Any]]()

    def enter(self) -> None:
        """Note what they follow."""
        if (around := self.making.around) is not None:
            self._follows: dict[object, tuple[order.Followed, ...]] = {
                ref(future): () if future is each else self.making.follows for each, future in self.futures.items()
            }
            for future, follows in self._follows.items():
                order.fork(around, future, follows)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Note what follows those that are done."""
        if self.making.around is not None:
            done: dict[object, tuple[order.Followed, ...]] = {
                ref(each): self._follows[ref(each)] for each in self.futures.values() if each.done()
            }
            order.join(self.making.around, done)
