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
from typing import TYPE_CHECKING
from weakref import ref

from opentelemetry import trace

from .store import type_of

if TYPE_CHECKING:
    from .live import Recorded
    from .visits import Visit

Ends = OrderedDict[object, "tuple[Followed, ...]"]
"""What has ended inside a run or visit and is followed by nothing yet, by the task or thread that did it."""

MOST_FOLLOWED = 16
"""Visits that one is said to follow: those that ended last."""
_MOST_WORKERS = 1024
"""Tasks and threads whose order inside one run or visit is known: those that came last."""


Followed = tuple[int, trace.SpanContext]
"""A visit that has ended, as those know it that follow it: its serial number, and its span."""


class Activity:
    """What a thread does in one go for whoever has handed it over."""


class _Thread(threading.local):
    """What tells a thread from every other, also from a later one with the same number."""

    def __init__(self) -> None:
        self.itself: object = object()


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
    if type(_thread.itself) is Activity:
        return _thread.itself
    sniffio, greenlet = sys.modules.get("sniffio"), sys.modules.get("greenlet")
    library = None if sniffio is None else sniffio.thread_local.name  # As trio and others say that they run here.
    if library is not None:
        return ref(sys.modules["trio"].lowlevel.current_task()) if library == "trio" else None
    return _thread.itself if greenlet is None else (ref(greenlet.getcurrent()),)


def begin(activity: Activity) -> object:
    """This thread begins with it. Gives what `finish` is to be told."""
    found, _thread.itself = _thread.itself, activity
    return found


def finish(found: object) -> None:
    """This thread goes on with what it did before."""
    _thread.itself = found


def main_worker() -> object:
    """The same where this is the main thread, which is none of a pool; None elsewhere."""
    return worker() if threading.get_ident() == threading.main_thread().ident else None


def starts(visit: Visit) -> None:
    """Note who starts a visit, and what it follows."""
    visit.worker = worker()
    around = visit.parent or visit.run
    if around.part_of is not None:
        around = _whole(around)
    if around.ends is not None and (follows := around.ends.get(visit.worker)):
        visit.follows = follows


def ended(visit: Visit) -> None:
    """Have others follow a visit: from now on it stands for what it followed itself."""
    around, who = visit.parent or visit.run, visit.worker
    if around.part_of is not None:
        around = _whole(around)
    kind = type_of(who)
    if who is None or (kind is not ref and kind is not Activity and who != around.worker) or who != worker():
        return  # Only tasks and activities do one thing after the other, wherever they were begun.
    end = visit.serial, visit.span.get_span_context()
    ends = around.ends
    if ends is None:
        ends = around.ends = OrderedDict()
    open_ends = ends.get(who, ())
    if open_ends is visit.follows or not open_ends:
        ends[who] = (end,)
    else:  # Others have ended meanwhile.
        ends[who] = (*(each for each in open_ends if each not in visit.follows), end)[-MOST_FOLLOWED:]
    if len(ends) > _MOST_WORKERS:
        ends.popitem(last=False)


def _whole(part: Recorded) -> Recorded:
    """What a phase or an item is a part of: its details have no order of their own."""
    while part.part_of is not None:
        part = part.part_of
    return part


def before(around: Recorded) -> tuple[Followed, ...]:
    """What something follows that begins where this code runs."""
    inside = _whole(around)
    return () if inside.ends is None else inside.ends.get(worker(), ())


def fork(around: Recorded, who: object, follows: tuple[Followed, ...]) -> None:
    """A task or an activity begins, and `follows` these."""
    inside = _whole(around)
    if follows and inside.ends is not None:
        inside.ends.setdefault(who, follows)


def join(around: Recorded, forked: Mapping[object, tuple[Followed, ...]]) -> None:
    """Tasks or activities have been waited for where this code runs: what comes next follows what they have done.

    `forked` are they, each with what it followed itself.
    """
    inside, who = _whole(around), worker()
    if inside.ends is None or inside.ended is not None:
        return
    found: dict[int, trace.SpanContext] = {}
    followed: set[int] = set()
    for each, follows in forked.items():
        done = dict(inside.ends.pop(each, follows))
        followed.update(serial for serial, _ in follows if serial not in done)
        found.update(done)
    own = {serial: span for serial, span in inside.ends.get(who, ()) if serial not in followed}
    if left := tuple({**own, **found}.items()):
        inside.ends[who] = left[-MOST_FOLLOWED:]
