"""Which run a store belongs to: the runs of this process, found by identity, by id, or by what a store has saved."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict, deque
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..names import PROGRESS_RUN, RUN_FIELDS
from .collecting import aside
from .faults import from_handler
from .live import Recorded, Run
from .store import name_of, read
from .times import timestamp
from .visits import Visit

_MOST_IDLE = 256
_MOST_ENDED = 4096
_MOST_NOTED = 1024
_NO_RUNS: dict[Run, None] = {}
_LONGEST_FIELD = 1024  # Characters that a saved run may say: a tracestate may have half of that.
_PROPAGATOR = TraceContextTextMapPropagator()

# The last idle run of this thread or task and its store, for stores that cannot say which run they belong to. One
# reference per context: a registry of such stores would keep every store of a server alive.
_last_idle: ContextVar[tuple[Run, Any] | None] = ContextVar("otel_progress_last_idle", default=None)


def saved_run(shared: Any) -> dict[str, str] | None:
    """What `progress_run` says in a store, each field a string; None where it does not say a run."""
    saved = read(shared, PROGRESS_RUN)
    if saved is None:
        return None
    fields = {
        field: value if isinstance(value := read(saved, field), str) and len(value) <= _LONGEST_FIELD else ""
        for field in RUN_FIELDS
    }
    fields["run_id"] = name_of(fields["run_id"])
    return fields if fields["run_id"] else None


def to_save(run: Run) -> dict[str, str]:
    """What `progress_run` shall say of `run`."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, run.context)
    values = (run.id, run.workflow, carrier.get("traceparent", ""), timestamp(run.started), carrier.get("tracestate"))
    return {field: value for field, value in zip(RUN_FIELDS, values, strict=True) if value is not None}


def remote_context(saved: dict[str, str]) -> Context:
    """The current context with the trace that a saved run belongs to."""
    carrier = {field: saved[field] for field in ("traceparent", "tracestate") if saved[field]}
    return _PROPAGATOR.extract(carrier, get_current())


class Registry:
    """The runs of one recorder in this process that have not ended. Safe to use from any thread.

    Its lock is never held while code of the workflow runs.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Reentrant, as a run's.
        self._runs: dict[Run, None] = {}
        self._by_key: dict[str | int, dict[Run, None]] = {}
        """The same by their ids and by the identities of their stores: several at once may have the same."""
        self._idle: OrderedDict[Run, None] = OrderedDict()
        self._tracked: OrderedDict[Run, None] = OrderedDict()
        """Those of the idle ones in which trackers have stages open."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.times_let_go = 0
        """How often a run has let go of its store."""
        self._let_go_of: deque[int] = deque(maxlen=_MOST_NOTED)
        """The identities of these stores, as many as are looked at."""
        self.of_nodes: defaultdict[int, dict[Recorded, None]] = defaultdict(dict)
        """What is open that is a call of a node, by the identity of the node."""

    def runs(self) -> list[Run]:
        """All runs that have not ended, idle ones among them."""
        with self._lock:
            return list(self._runs)

    def left_behind(self) -> list[Run]:
        """The same in a forked child, where the lock may be held for ever by a thread that is no more."""
        return list(self._runs)

    def visits(self) -> list[Visit]:
        """The visits that are open, of all runs."""
        visits: list[Visit] = []
        for run in self.runs():
            with run.lock:
                visits.extend(run.open)
        return visits

    def drop_node(self, recorded: Recorded) -> None:
        """Find it no more by the node whose call it is."""
        if (known := self.of_nodes.get(key := id(recorded.node))) is not None:
            known.pop(recorded, None)
            if not known:
                self.of_nodes.pop(key, None)

    def of_node(self, node: object) -> list[Recorded]:
        """What is open that is a call of this very node."""
        return [each for each in list(self.of_nodes.get(id(node), ())) if each.node is node and each.ended is None]

    def has_ended(self, run_id: str) -> bool:
        """Whether a run with this id has ended in this process (as far back as is remembered)."""
        ended = [run for run in list(self._by_key.get(run_id, ())) if run.ended is not None]  # Told of at this moment.
        return bool(ended) or run_id in self._ended

    def find(self, shared: Any, saved: dict[str, str] | None) -> Run | None:
        """The run that `shared`, which says `saved`, belongs to; of several the one that began last."""
        if shared is None:
            return None
        run = self.of_store(shared)
        if run is not None:
            return run
        idle = _last_idle.get()
        if idle is not None and idle[1] is shared and idle[0] in self._runs:
            return idle[0]
        return self.of_id(saved["run_id"]) if saved else None

    def of_id(self, run_id: str) -> Run | None:
        """The run with this id."""
        return self._latest(run_id)

    def of_store(self, shared: Any) -> Run | None:
        """The run that holds this very store."""
        return self._latest(id(shared))

    def beside(self, run: Run) -> list[Run]:
        """The other runs over the very store of `run`, in the order in which they began."""
        # Without the lock: that of the run is held, for which a finalizer may wait that has come while ours is.
        return [other for other in list(self._by_key.get(id(run.shared), ())) if other is not run]

    def claim(self, run: Run, let_go: int | None = None) -> Run | None:
        """Keep a run that is about to begin; gives the one that another thread was faster to begin in its place.

        None where one has let go of this store since that had happened `let_go` times: then only the store says which.
        """
        with self._lock:
            known = self._latest(run.id) if run.implicit else None
            if known is None and run.implicit and run.shared is not None:
                known = self._latest(id(run.shared))
            if known is None:
                others = 0 if let_go is None else self.times_let_go - let_go
                if others and id(run.shared) in list(self._let_go_of)[-others:]:
                    return None
                self._keep(run)
                known = run
            return known

    def _keep(self, run: Run) -> None:
        self._runs[run] = None
        self._add(run.id, run)
        if run.shared is not None:
            for beside in self._by_key.get(id(run.shared), ()):
                run.lock = beside.lock  # One lock for all that write into one store, those that are ending too.
            self._add(id(run.shared), run)
        if run.node is not None:
            self.of_nodes[id(run.node)][run] = None

    def wake(self, run: Run, shared: Any) -> None:
        """A visit begins in a run: it is not idle any more. One without a store takes that of the visit.

        But not a store that belongs to another run.
        """
        owner = None
        if shared is not None and run.shared is None and not run.idle:
            owner = self.find(shared, saved_run(shared))
        with self._lock:
            run.idle = False
            self._forget_idle(run)
            if run.ended is not None:  # In another thread: it would hold the store for ever.
                return
            if run.shared is None and shared is not None and owner in (None, run) and self.of_store(shared) is None:
                run.shared = shared
                self._add(id(shared), run)

    def rest(self, run: Run, shared: Any) -> Run | None:
        """No visit is open in a run that nothing ends: let go of its store.

        Gives the run that is idle longest, if there are too many.
        """
        if (saved := saved_run(shared)) is None or saved["run_id"] != run.id:
            aside(_last_idle.set, (run, shared))
        with self._lock:
            # Before it is looked at: who begins a visit now sees it, and wakes the run. So the run's own lock need not
            # be waited for, whose holder may wait for this one (in a finalizer, or the handler of a signal).
            run.idle = True
            if run.ended is not None or not run.unattended:
                run.idle = False
                return None
            store = self._let_go(run)
            self._forget_idle(run)
            (self._tracked if run.open else self._idle)[run] = None
            longest = self._longest_idle()
        del store  # Its last reference may be this one: not while the lock is held.
        return longest

    def _longest_idle(self) -> Run | None:
        """The run to end, if too many are idle: one in which a tracker has a stage open only if there are far more."""
        if self._idle and len(self._idle) + len(self._tracked) > _MOST_IDLE:
            return next(iter(self._idle))
        return next(iter(self._tracked)) if len(self._tracked) > _MOST_IDLE * 16 else None

    def _forget_idle(self, run: Run) -> None:
        self._idle.pop(run, None)
        self._tracked.pop(run, None)

    def remove(self, run: Run) -> None:
        """Forget a run that has ended, but for its id."""
        with self._lock:
            store = self._let_go(run)
            self._forget_idle(run)
            self._runs.pop(run, None)
            self._ended[run.id] = None  # First: others ask without the lock, in the other order.
            self._drop(run.id, run)
            if run.node is not None:
                self.drop_node(run)
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)
        del store

    def _let_go(self, run: Run) -> Any:
        store, run.shared = run.shared, None
        if store is not None:
            self.times_let_go += 1
            self._let_go_of.append(id(store))
            self._drop(id(store), run)
        return store

    def _latest(self, key: str | int) -> Run | None:
        """The last of the runs with a key. They keep their stores alive, and so the identity of a store is its own."""
        while True:
            try:
                with self._lock:
                    # No generator: what the handler of a signal raises while one is closed is lost.
                    for run in reversed(self._by_key.get(key, _NO_RUNS)):
                        if run.ended is None:
                            return run
                    return None
            except RuntimeError as error:  # A signal came here, and its handler has begun or ended a run.
                if from_handler(error):
                    raise

    def _add(self, key: str | int, run: Run) -> None:
        self._by_key.setdefault(key, {})[run] = None

    def _drop(self, key: str | int, run: Run) -> None:
        runs = self._by_key.get(key, {})
        runs.pop(run, None)
        if not runs:
            self._by_key.pop(key, None)
