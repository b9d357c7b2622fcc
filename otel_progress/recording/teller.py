"""Telling the sinks: each of them, whatever another one raises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .faults import passes, report
from .sink import Sink

if TYPE_CHECKING:
    from .visits import Visit


class Teller:
    """Holds the sinks, and tells them."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        """Those of `sinks/usual.py`, once the package is imported, and others. Never changed in place: threads go
        through it meanwhile."""
        self.changing = threading.RLock()
        """Held while the sinks are exchanged for others."""

    def change(self, changed: Callable[[list[Sink]], list[Sink]]) -> None:
        """Tell what `changed` makes of the sinks from now on; what another thread changes meanwhile is not lost."""
        with self.changing:
            self.sinks = changed(self.sinks)

    def tell(self, event: str, *arguments: Any, to: Iterable[Sink] | None = None) -> None:
        """Call the method `event` of every sink; with `to`, which tells of an end, of those that are left in it."""
        foreign: BaseException | None = None
        for sink in self.sinks if to is None else to:
            try:
                getattr(sink, event)(*arguments)
            except BaseException as error:
                if _is_foreign(error, sink, event):
                    foreign = error  # The other sinks are told all the same.
                    if to is not None:
                        getattr(sink, event)(*arguments)
        if foreign is not None:
            raise foreign

    def tell_start(self, visit: Visit) -> None:
        """Call `visit_started` of every sink, as `tell` would, but directly, as it comes so often."""
        foreign: BaseException | None = None
        for sink in self.sinks:
            try:
                sink.visit_started(visit)
            except BaseException as error:
                if _is_foreign(error, sink, "visit_started"):
                    foreign = error
        if foreign is not None:
            raise foreign

    def tell_end(self, visit: Visit) -> None:
        """Call `visit_ended` of those that are left, in the same way."""
        foreign: BaseException | None = None
        for sink in visit.untold or ():  # An iterator: what was interrupted goes on where it stood.
            try:
                sink.visit_ended(visit)
            except BaseException as error:
                if _is_foreign(error, sink, "visit_ended"):
                    foreign = error
                    sink.visit_ended(visit)
        if foreign is not None:
            raise foreign


def _is_foreign(error: BaseException, sink: Sink, event: str) -> bool:
    """Whether what a sink raised has to go on to the workflow; else it is reported."""
    if passes(error, theirs=True):
        return True
    report(f"{type(sink).__name__}.{event} failed; the workflow goes on without it", error)
    return False
