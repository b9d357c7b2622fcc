"""Carrying a run into threads: what a function does there is inside of what hands it over."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextvars import Token
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import Context, get_current

from . import order
from .context import attach, detach
from .faults import Harmless
from .place import is_over, recorded_in

if TYPE_CHECKING:
    from .live import Recorded, Run

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


class _Carried(Harmless[None]):
    """One call there."""

    def __init__(
        self, around: Recorded, context: Context, follows: tuple[order.Followed, ...], activity: order.Activity | None
    ) -> None:
        self._around = around
        self._context = context
        self._follows = follows
        self._activity = activity
        """None for a coroutine: others run in its thread while it waits, and its task has an order."""
        self._before: object = None
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Make current what was so where it was handed over, unless that is over."""
        if is_over(self._around):
            return
        if self._activity is not None:
            self._before = order.doing()
            order.begin(self._activity)
        order.fork(self._around, self._activity or order.worker(), self._follows)
        self._token = attach(self._context)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Make current what was so before."""
        if self._token is not None:
            detach(self._token, self._context)
            self._token = None
        if self._before is not None:
            order.finish(self._before)
            self._before = None


def _here(run: Run) -> tuple[Recorded, Context]:
    """Where this code is in a run; the run itself, where it is elsewhere."""
    context = get_current()
    recorded = recorded_in(context)
    return (recorded, context) if recorded is not None and recorded.run is run else (run, run.context)


def wrapped(run: Run, function: F) -> F:
    """`function`, whose calls are inside of what is current now, in whatever thread they are made."""
    around, context = _here(run)
    before = order.before(around)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def carried_async(*args: Any, **kwargs: Any) -> Any:
            carried = _Carried(around, context, before, None)
            try:
                with carried:
                    return await function(*args, **kwargs)
            except BaseException as error:
                carried.left(error)
                raise

        return carried_async  # type: ignore[return-value]

    @functools.wraps(function)
    def carried_there(*args: Any, **kwargs: Any) -> Any:
        return _call(_Carried(around, context, before, order.Activity()), function, args, kwargs)

    return carried_there  # type: ignore[return-value]


class Carrying(Executor):
    """An executor of threads whose calls are inside of what submits them.

    What follows its end (`with`, or `shutdown`) follows all that was submitted to it.
    """

    def __init__(self, run: Run, executor: Executor) -> None:
        if isinstance(executor, ProcessPoolExecutor):
            raise TypeError("a ProcessPoolExecutor does not need it: hand `shared` to what its processes do")
        self._run = run
        self._executor = executor
        self._around = _here(run)[0]
        self._activities: OrderedDict[object, tuple[order.Followed, ...]] = OrderedDict()
        """What was submitted last, and what it follows."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have the executor call `fn`, inside of what is current here."""
        around, context = _here(self._run)
        activity, before = order.Activity(), order.before(around)
        if around is self._around:
            self._activities[activity] = before
            if len(self._activities) > order.MOST_WORKERS:
                self._activities.popitem(last=False)
        return self._executor.submit(_call, _Carried(around, context, before, activity), fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Have the executor take no more; with `wait`, until all that was submitted is done."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            activities, self._activities = self._activities, OrderedDict()
            order.join(self._around, dict(activities))  # Another thread may be about to submit more, in vain.


def _call(carried: _Carried, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        with carried:
            return function(*args, **kwargs)
    except BaseException as error:
        carried.left(error)
        raise
