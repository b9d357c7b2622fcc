"""Visits of nodes whose `prep`, `exec` and `post` somebody calls one by one: an engine without `_run`, a user's loop.

Such a visit is open from the first of these calls to the end of the last, and current only while one of them runs:
between them runs code that is not the node's. Nothing is kept on the node, and nothing here keeps it alive: what it
left open ends as abandoned when it is forgotten, when its next visit begins, or with the run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextvars import Token
from dataclasses import replace
from typing import Any, cast
from weakref import ref

from ..recording import default
from ..recording.call import Call, Code
from ..recording.context import attach, detach
from ..recording.faults import Harmless
from ..recording.live import Recorded
from ..recording.order import worker
from ..recording.place import current_context, is_over, recorded_in
from ..recording.visits import Visit
from .classes import BY_HAND
from .opener import Opener
from .opening import Opening, action_of


class _Visits:
    """Those of one node that have begun, the last that ended among them. Several threads may begin some at once."""

    def __init__(self, node: object) -> None:
        # In C: what a signal's handler raises in a callback that is written in Python is lost.
        self.node = ref(node, functools.partial(visited.pop, id(node)))
        self.all: dict[Driven, None] = {}


visited: dict[int, _Visits] = {}
"""By the identity of the node, until that is forgotten."""


class Driven:
    """One visit, and who began it."""

    def __init__(self, phase: str, opening: Opening[Any], recorded: Recorded) -> None:
        self.worker = worker()
        self.phase = phase
        """The one that began it."""
        self.opening: Opening[Any] | None = opening
        self.recorded = recorded
        self.failed = False
        """Whether an exception left its exec: a further try need not begin with prep."""
        self._steps = 0

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.opening is not None and self.recorded.recorder.is_open(self.recorded)

    @property
    def is_left(self) -> bool:
        """Whether its task is no more, so that nobody will end it."""
        who: Any = self.worker
        if isinstance(who, tuple):  # A greenlet's.
            (who,) = cast("tuple[Any]", who)
        return type(who) is ref and who() is None

    def enter(self, node: object) -> None:
        """Be that of its node, for what the node's methods call."""
        with self.recorded.run.lock:  # Items of a batch may run in several threads.
            self._steps += 1
            self.recorded.node = node

    def leave(self) -> None:
        """Hold the node no more."""
        with self.recorded.run.lock:
            self._steps -= 1
            if self._steps <= 0:
                self.recorded.node = None

    def end(self, error: BaseException | None) -> None:
        """End the visit."""
        if (opening := self.opening) is not None:  # Another thread may end it meanwhile, as below.
            opening.leave(error)
            self.opening = None  # Only now: what the handler of a signal interrupts comes here again.

    def abandon(self) -> None:
        """End it where its last call never came."""
        if (opening := self.opening) is not None:
            self.recorded.recorder.end(self.recorded, None, "abandoned")
            opening.take()
            self.opening = None


def _of(node: object) -> list[Driven]:
    found = visited.get(id(node))
    return [] if found is None or found.node() is not node else list(found.all)


def _keep(node: object, driven: Driven) -> None:
    found = visited.get(id(node)) or visited.setdefault(id(node), _Visits(node))
    found.all[driven] = None


def _drop(node: object, driven: Driven) -> None:
    if (found := visited.get(id(node))) is not None:
        found.all.pop(driven, None)


def begins(node: object, phase: str, has_prep: bool, is_batch: bool) -> bool:
    """Whether a call begins a visit: prep does, and exec where there is no prep or a try before it failed.

    An exec goes on with what is open, but for what the exec of another task or thread began: that is one of its own,
    unless both are items of a batch.
    """
    if phase == "prep":
        return not _is_run(node)
    if phase != "exec":
        return False
    if (at := recorded_in(current_context())) is not None and is_over(at):
        return False  # An item of a batch that runs on when its visit has ended.
    known, who = _of(node), worker()  # No generators: what a signal's handler raises while one is closed is lost.
    if [each for each in known if each.is_open and (each.phase == "prep" or each.worker == who or is_batch)]:
        return False
    may = not has_prep or [each for each in known if each.failed and each.worker == who]
    return bool(may) and not _is_run(node)


def begin(node: object, phase: str, opening: Opening[Any]) -> Driven | None:
    """Begin a visit; what the same task or thread, or one that is no more, has left open of this node is abandoned."""
    who = worker()
    for each in _of(node):
        if each.worker == who or each.is_left:
            each.abandon()
        if not each.is_open:
            _drop(node, each)
    opening.by_steps().__enter__()
    recorded = opening.recorded
    if recorded is None:
        return None
    opening.let_go()
    driven = Driven(phase, opening, recorded)
    _keep(node, driven)
    return driven


def broken_off(node: object, error: BaseException) -> None:
    """What a signal's handler raised while we looked at a call leaves the node's method, as any exception does."""
    if visited and (driven := going_on(node)) is not None:
        driven.end(error)


def going_on(node: object, shared: Any = None) -> Driven | None:
    """The visit that a call goes on with: its task's or thread's own, else that of its store, else the only one."""
    known = [each for each in _of(node) if each.is_open]
    if not known:
        return None
    who = worker()
    own = [each for each in known if each.worker == who]
    if not own and shared is not None:
        own = [each for each in known if isinstance(each.recorded, Visit) and each.recorded.shared is shared]
    own = own or known
    return own[0] if len(own) == 1 else None


def run_after_all(node: object, code: Code) -> Opening[Any] | None:
    """The visit of a node's `_run` whose prep was called by hand before it: one visit stays one."""
    if (driven := going_on(node)) is None or (opening := driven.opening) is None or (begun := opening.recorded) is None:
        return None
    whole: Opening[Any] = Opening(Opener(), Call(code, node=node))
    whole.recorded = begun
    try:
        opening.take()
        driven.opening = None
        _drop(node, driven)
        begun.node = node
        begun.recorder.registry.of_nodes[id(node)][begun] = None
        if isinstance(begun, Visit):
            begun.code = replace(begun.code, function=code.function)
    except BaseException as error:  # Of a signal's handler: nobody but this will end it.
        whole.left(error)
        raise
    return whole


def _is_run(node: object) -> bool:
    """Whether the node's `_run` goes on elsewhere: its methods then run in a thread without its context.

    Not what another thread begins by hand at this moment.
    """
    known = default.recorder.registry.of_node(node)
    return bool([each for each in known if (each.code.function or "").rpartition(".")[2] not in BY_HAND])


class Step(Harmless[None]):
    """One call of prep, exec or post, inside its visit."""

    def __init__(self, driven: Driven, node: object, phase: str, parts: Sequence[Harmless[Any]], last: str) -> None:
        self._driven = driven
        self._node = node
        self._phase = phase
        self._parts = parts
        """The phase and the attempt that it is."""
        self._begun: list[Harmless[Any]] = []
        self._is_last = phase in (last, "post")
        self._token: Token[Any] | None = None
        self._inside = False

    def enter(self) -> None:
        """Make the visit current."""
        self._inside = True
        self._driven.enter(self._node)
        self._context = self._driven.recorded.context
        self._token = attach(self._context)
        for part in self._parts:
            part.__enter__()
            self._begun.append(part)

    def got(self, value: object) -> None:
        """Note what it returned."""
        for part in self._parts:
            part.returned(value)
        visit = self._driven.recorded
        if self._phase == "post" and isinstance(visit, Visit):
            visit.eventful, visit.action = True, action_of(self._node, value)

    def leave(self, error: BaseException | None) -> None:
        """End the visit too, where it was the last call or an exception leaves it."""
        while self._begun:
            self._begun.pop().__exit__(None if error is None else type(error), error, None)
        if self._token is not None:
            detach(self._token, self._context)
            self._token = None
        if self._inside:
            self._driven.leave()
            self._inside = False
        if error is not None or self._is_last:
            self._driven.failed = error is not None and self._phase == "exec"
            self._driven.end(error)

    def not_ended(self, error: BaseException | None, fault: BaseException) -> None:
        """What a signal's handler raised leaves the call too."""
        super().not_ended(error or fault, fault)
