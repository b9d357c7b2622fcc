"""One run or visit around code, from start to end: a context manager whose own faults stay away from the code."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from opentelemetry.context import get_current

from ..recording import default
from ..recording.call import Call
from ..recording.context import Attached, attach, detach
from ..recording.faults import Harmless, report
from ..recording.live import Recorded, Run
from ..recording.place import recorded_in
from ..recording.store import name_of
from ..recording.visits import Visit

if TYPE_CHECKING:
    from .opener import Opener

_LONGEST_WORD = 64
T = TypeVar("T", bound="Run | Visit")
_Other = TypeVar("_Other", bound="Opening[Any]")


def action_of(node: Any, value: object) -> str | None:
    """The action that a node returned; None for what may be content: no edge's name, and longer than a word."""
    if type(value) is str and len(value) <= _LONGEST_WORD and value.isidentifier():
        return value  # Mostly.
    if value is None or (isinstance(value, (str, int)) and not value):
        return "default"  # As PocketFlow takes it.
    action = name_of(value)
    if len(action) <= _LONGEST_WORD and not any(map(str.isspace, action)):
        return action
    successors = getattr(node, "__dict__", {}).get("successors")
    return action if isinstance(successors, dict) and isinstance(value, str) and value in successors else None


_guarded: dict[ref[Opening[Any]], Recorded] = {}
"""What ends when its opening is forgotten, if nothing has ended it before."""


def _forgotten(guard: ref[Opening[Any]]) -> None:
    recorded = _guarded.pop(guard, None)
    try:
        if recorded is not None:
            _leave_place(recorded)
            recorded.recorder.end(recorded, None, "abandoned")
    except BaseException as error:  # From here nothing can be raised: Python would print it.
        report("what was left open could not be ended", error)


def _leave_place(recorded: Recorded) -> None:
    """Make current what was so before `recorded`, where there is no token for it."""
    if recorded.ended is None and recorded_in(get_current()) is recorded:
        attach(recorded.context_before)


class Opening(Harmless[T]):
    """One run or visit from its start to its end, current in between unless `stepwise`."""

    __slots__ = (
        "__weakref__",
        "_call",
        "_guard",
        "_made_current",
        "_opener",
        "_steps",
        "_stepwise",
        "_token",
        "closed",
        "recorded",
    )

    def __init__(self, opener: Opener[T], call: Call, stepwise: bool = False) -> None:
        self._opener = opener
        self._call = call
        self._stepwise = stepwise
        self._token: Token[Any] | None = None
        self._guard: ref[Opening[Any]] | None = None
        self.recorded: Run | Visit | None = None
        self._steps: Attached | None = None
        self.closed = False
        """Whether it is a generator that was closed early."""

    def __enter__(self) -> T:
        # `__enter__` and `enter` of `Harmless` in one, and a call less for every visit.
        try:
            recorded = self.recorded
            if recorded is None:  # Else `by_hand.run_after_all` has given it one that has begun.
                start = default.recorder.start_run if self._opener.of_runs else default.recorder.start_visit
                recorded = self.recorded = start(self._call)  # In `recording/recorder.py`.
            if self._stepwise:
                self.guard()
            else:
                # Kept for `detach`: if the run ends before this, `recorded.context` is NOWHERE by then.
                self._made_current = recorded.context
                self._token = attach(recorded.context)
            return recorded  # pyright: ignore[reportReturnType] - `cast` would be a call
        except BaseException as error:
            return self.not_begun(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.leave(error)
        except BaseException as fault:
            self.not_ended(error, fault)

    def left(self, error: BaseException) -> None:
        """End it, unless `__exit__` has done so."""
        if self.recorded is not None and (self.recorded.ended is None or self._token is not None):
            self.leave(error)

    def guard(self) -> None:
        """End it when it is forgotten, where nobody calls `left`.

        Not by `__del__`, which would run at every end: what a signal's handler raises in one is lost.
        """
        del self._opener  # Which may hold this: in a cycle nothing is forgotten.
        if self.recorded is not None:
            self._guard = ref(self, _forgotten)
            _guarded[self._guard] = self.recorded

    def leave(self, error: BaseException | None) -> None:
        """End it."""
        recorded = self.recorded
        if recorded is None:
            return
        if self._guard is not None:
            _guarded.pop(self._guard, None)
            self._guard = None
        if self._token is not None:
            detach(self._token, self._made_current)
            self._token = None
        elif error is not None:
            _leave_place(recorded)
        # `Ender.end`, in `recording/ending.py`.
        recorded.recorder.end(recorded, GeneratorExit() if self.closed and error is None else error)

    def hand_on(self, kind: type[_Other], stepwise: bool) -> _Other:
        """Leave it open for another, which ends it."""
        other, recorded = kind(self._opener, self._call, stepwise), self.recorded
        if isinstance(recorded, Visit):
            recorded.in_one_go = False
        if self._token is not None and recorded is not None:
            detach(self._token, self._made_current)
            self._token = None
        other.recorded, self.recorded = recorded, None
        return other

    def by_steps(self) -> Opening[T]:
        """The same, current for single steps only."""
        self._stepwise = True
        return self

    def let_go(self) -> None:
        """Hold neither the object whose call it is nor its store: then it ends when that object is forgotten."""
        self._call = self._call._replace(node=None, shared=None)
        if (recorded := self.recorded) is not None:
            recorded.recorder.registry.drop_node(recorded)
            recorded.node = None

    def take(self) -> Run | Visit | None:
        """What it has begun, to be ended by who takes it."""
        if self._guard is not None:
            _guarded.pop(self._guard, None)
            self._guard = None
        recorded, self.recorded = self.recorded, None
        return recorded

    def instead(self) -> T:
        """One that records nothing."""
        return self._opener.given(default.recorder.nothing(self._call.code))

    def got(self, value: object) -> None:
        """Note what a node returned: the action that its flow goes on with."""
        if isinstance(self.recorded, Visit):
            self.recorded.eventful, self.recorded.action = True, action_of(self._call.node, value)

    def step(self) -> Attached:
        """Make it current for one step of a generator, with what the steps before have made current inside."""
        if self._steps is None:
            self._steps = Attached(None if self.recorded is None else self.recorded.context)
        return self._steps
