"""What followed what: the order in which one task or thread goes through what is inside a run or visit.

Where the same task has seen a visit end before it starts another, the second follows the first, whatever else goes on
at that time. Of threads only the one that the run or visit around them was begun in tells such an order: others may be
those of a pool, which does in any order what has nothing to do with each other. What tasks that were gathered waited
for is not told either: times alone do not prove it (open-telemetry/opentelemetry-specification#4079).
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from opentelemetry import trace

from .faults import from_handler
from .store import type_of

if TYPE_CHECKING:
    from .live import Recorded
    from .visits import Visit

Ends = OrderedDict[object, "tuple[Followed, ...]"]
"""What has ended inside a run or visit and is followed by nothing yet, by the task or thread that did it."""

MOST_FOLLOWED = 16
"""Visits that one is said to follow: those that ended last."""
MOST_WORKERS = 1024
"""Tasks and threads whose order inside one run or visit is known: those that came last."""


Followed = tuple[int, trace.SpanContext]
"""A visit that has ended, as those know it that follow it: its serial number, and the context of its span."""


class Activity:
    """What a thread does in one go for whoever has handed it over."""

    by: object = None
    """Who it was that began with it: others that run meanwhile in the same thread are none of it."""


class _Forking(NamedTuple):
    """Tasks are made: an eager one begins while it is."""

    inside: Recorded
    follows: tuple[Followed, ...]
    by: object
    """Who makes them."""


class _Thread(threading.local):
    """What tells a thread from every other, also from a later one with the same number."""

    activity: Activity | None = None
    forking: _Forking | None = None

    def __init__(self) -> None:
        self.itself = object()


_thread = _Thread()


def worker() -> object:
    """Who runs this code, hashable and keeping nothing alive: a `ref` of the task where there is one, else the thread.

    Or what the thread was handed as one activity. None in what an event loop calls back, which has no order, and in
    tasks of a library that is not known.
    """
    asyncio = sys.modules.get("asyncio")  # Where nobody has imported it, there is no task.
    # `get_running_loop` would raise where there is none; this one is in asyncio's `__all__` too.
    if asyncio is not None and (loop := asyncio._get_running_loop()) is not None:  # noqa: SLF001
        task = asyncio.current_task(loop)
        return None if task is None else ref(task)
    sniffio, greenlet = sys.modules.get("sniffio"), sys.modules.get("greenlet")
    if sniffio is None and greenlet is None:  # Mostly.
        who: object = _thread.itself
    else:  # All in one function, as every visit asks. Another thread may be importing them.
        local, get_current = getattr(sniffio, "thread_local", None), getattr(greenlet, "getcurrent", None)
        # Trio and others say so that they run here.
        library = (
            _library_in_context(sniffio) if local is None and sniffio is not None else getattr(local, "name", None)
        )
        if library is not None:
            who = _task_of_trio() if library == "trio" else None
        else:
            who = _thread.itself if get_current is None else (ref(get_current()),)
    activity = _thread.activity
    return who if activity is None or who is None or activity.by != who else activity


def _task_of_trio() -> object:
    try:
        return ref(sys.modules["trio"].lowlevel.current_task())
    except RuntimeError as error:  # Between its tasks: in an `Instrument`.
        if from_handler(error):
            raise
        return None


def _library_in_context(sniffio: Any) -> str | None:
    """What runs here, by a context variable alone: before sniffio 1.3."""
    said = getattr(sniffio, "current_async_library_cvar", None)
    return None if said is None else said.get(None)


def doing() -> object:
    """What this thread does now, as `finish` is to be told when it has done something else."""
    return (_thread.activity,)


def begin(activity: Activity) -> None:
    """This thread begins with it."""
    _thread.activity = None
    activity.by = worker()
    _thread.activity = activity


def finish(before: Any) -> None:
    """This thread goes on with what it did before."""
    (_thread.activity,) = before


def main_worker() -> object:
    """As `worker`, where this is the main thread, which is none of a pool; None elsewhere."""
    return worker() if threading.get_ident() == threading.main_thread().ident else None


def starts(visit: Visit) -> None:
    """Note who starts a visit, and what it follows."""
    visit.worker = worker()
    around = visit.parent or visit.run  # `or` is for the type checker: `Recorder` has set the parent.
    if around.part_of is not None:
        around = _whole(around)
    ends = around.ends  # Once: the end of what is around it, in another thread, takes it away.
    if ends is not None:
        follows = ends.get(visit.worker)
        if follows is None and _thread.forking is not None:
            follows = _just_made(_thread.forking, around, visit.worker)
        if follows:
            visit.follows = follows


def ended(visit: Visit) -> None:
    """Have what its task or thread starts next follow a visit that ends, and no longer what that followed itself."""
    around, who = visit.parent or visit.run, visit.worker  # As in `starts`.
    if around.part_of is not None:
        around = _whole(around)
    if who is None or not (visit.in_one_go or who == worker()):
        return
    if who is not around.worker and not _has_order(who, around):
        return
    end = visit.serial, visit.span_context
    ends = around.ends
    if ends is None:  # Only one of several threads makes it.
        ends = around.__dict__.setdefault("ends", OrderedDict())
        if ends is None:
            return  # What is around it has ended.
    open_ends = ends.get(who)
    if open_ends is None:
        ends[who] = (end,)
        if len(ends) > MOST_WORKERS:
            ends.popitem(last=False)
    elif open_ends is visit.follows:
        ends[who] = (end,)
    else:  # Others have ended meanwhile.
        # No generator, in which a StopIteration that a signal's handler raises would become another exception.
        ends[who] = (*[each for each in open_ends if each not in visit.follows], end)[-MOST_FOLLOWED:]


def _has_order(who: object, around: Recorded) -> bool:
    """Whether this one does one thing after the other: tasks and activities do so, wherever they were begun."""
    kind = type_of(who)
    return kind is ref or kind is Activity or (who is not None and who == around.worker)


def _whole(part: Recorded) -> Recorded:
    """What a phase or an item is a part of: its details have no order of their own."""
    while part.part_of is not None:
        part = part.part_of
    return part


def before(around: Recorded) -> tuple[Followed, ...]:
    """What something follows that begins where this code runs."""
    ends = _whole(around).ends
    return () if ends is None else ends.get(worker(), ())


def begin_to_fork(around: Recorded | None) -> tuple[tuple[Followed, ...], object]:
    """Tasks are going to be made here: gives what they follow, and what `end_to_fork` is to be told."""
    outer, follows = _thread.forking, () if around is None else before(around)
    _thread.forking = None if around is None else _Forking(_whole(around), follows, worker())
    return follows, (outer,)


def end_to_fork(before: Any) -> None:
    """They have been made."""
    (_thread.forking,) = before


def _just_made(forking: _Forking, around: Recorded, who: object) -> tuple[Followed, ...]:
    """What one follows that is at work before whoever makes it knows of it."""
    if forking.inside is not around or who == forking.by:
        return ()
    fork(around, who, forking.follows)
    return forking.follows


def fork(around: Recorded, who: object, follows: tuple[Followed, ...]) -> None:
    """A task or an activity begins, and `follows` these."""
    inside = _whole(around)
    ends = inside.ends
    if follows and ends is not None and _has_order(who, inside):
        ends.setdefault(who, follows)
        if len(ends) > MOST_WORKERS:
            ends.popitem(last=False)


def join(around: Recorded, forked: Mapping[object, tuple[Followed, ...]]) -> None:
    """Tasks or activities have been waited for where this code runs: what comes next follows what they have done.

    `forked` are they, each with what it followed itself.
    """
    inside, who = _whole(around), worker()
    ends = inside.ends
    if ends is None or inside.ended is not None:
        return
    found: dict[int, trace.SpanContext] = {}
    followed: set[int] = set()
    for each, follows in forked.items():
        done = dict(ends.pop(each, follows))
        followed.update([serial for serial, _ in follows if serial not in done])  # No generator, as above.
        found.update(done)
    if not _has_order(who, inside):  # A thread of a pool, which may go on with something else.
        return
    own = {serial: span for serial, span in ends.get(who, ()) if serial not in followed}
    if left := tuple({**own, **found}.items()):
        ends[who] = left[-MOST_FOLLOWED:]
