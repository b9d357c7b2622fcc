"""Waiting that is none of the stage's own work: for a person, a queue, a rate limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opentelemetry.context import Context, get_current

from .faults import AlsoAsync, Harmless
from .store import name_of

if TYPE_CHECKING:
    from .sink import Sink
    from .visits import Visit


class Waiting(AlsoAsync, Harmless[None]):
    """What `visit.waiting("approval")` gives, for `with` and `async with`: meanwhile the visit waits."""

    started = 0
    """Nanoseconds since the Unix epoch, as `ended`."""
    ended: int | None = None
    untold: Iterator[Sink] | None = None
    """The sinks that are yet to be told of the end."""

    def __init__(self, visit: Visit, reason: object) -> None:
        self.visit = visit
        self.reason = name_of(reason) or "waiting"
        self.context = Context()
        """What was current where it began."""

    def enter(self) -> None:
        """The visit waits, if it is open."""
        visit = self.visit
        if visit.recorder.is_open(visit):
            self.started, self.context, self.ended = visit.recorder.now(visit), get_current(), None
            if visit.record.wait(self):
                visit.recorder.tell("wait_started", visit, self)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """It goes on."""
        visit = self.visit
        if self.started and visit.recorder.is_open(visit):  # Not in a forked child.
            self.end(visit.recorder.now(visit))

    def end(self, at: int) -> None:
        """It waited until then. A second end does nothing but what the first has not come to."""
        visit = self.visit
        visit.record.wait_no_more(self, at)
        untold = self.untold  # Once: the end of the visit in another thread ends it too.
        if untold is not None:
            visit.recorder.tell("wait_ended", visit, self, to=untold)
            visit.waits.pop(self, None)
            self.untold = None
