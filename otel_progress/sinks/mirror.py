"""The mirror: the record of a run in the workflow's own store, for the workflow itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast

from ..names import PROGRESS_METRICS, PROGRESS_RUN
from ..recording.live import Run
from ..recording.recorder import Recorder
from ..recording.registry import saved_run, to_save
from ..recording.sink import Sink
from ..recording.stages import StageRecord
from ..recording.store import read, type_of, write
from ..recording.visits import Visit
from ..recording.waiting import Waiting

_PLAIN = {dict, type(None)}


class _Desk:
    """Where is written into one store whose methods are the workflow's: by one thread at a time.

    So no update is lost, and nobody waits for the one that writes.
    """

    def __init__(self) -> None:
        self.waiting: dict[Hashable, Callable[[], None]] = {}
        self.writer: dict[None, object] = {}

    def hand_in(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do `work`, or let the thread do it that is writing at this moment.

        Once for each key of those that wait: a store may be slow to take them.
        """
        self.waiting[key] = work
        me = object()
        while self.waiting:
            try:
                if self.writer.setdefault(None, me) is not me:
                    return
                while self.waiting:
                    for each in list(self.waiting):
                        self.waiting.pop(each)()
            finally:
                try:
                    self._leave(me)
                finally:  # Once more, where the handler of a signal has interrupted that.
                    self._leave(me)

    def _leave(self, me: object) -> None:
        if self.writer.get(None) is me:
            self.writer.clear()


class _Mirrored:
    """What is mirrored of one run."""

    def __init__(self, desk: _Desk) -> None:
        self.waiting = desk.waiting
        self.entries: dict[str, dict[str, Any]] = {}
        """The entries last written: making 10,000 of them anew for each new stage would take minutes."""
        self.shown = False


class MirrorSink(Sink):
    """Writes `progress_metrics` and `progress_run`. JSON values only, whole entries at a time.

    People iterate over the store, copy it and dump it while others write. So `progress_metrics` never changes its size
    in place: a new stage comes with a new dict, and a known stage's entry is replaced by a new one.

    Runs that go on at once over one store have one lock. Each writes its own stages, the entry that changed last stands
    where two have a stage of one name, and `progress_run` says the one that began last.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._runs: dict[Run, _Mirrored] = {}
        self._desks: dict[object, _Desk] = {}
        """By the lock of the runs over a store."""

    def run_shown(self, run: Run) -> None:
        """Create both keys."""
        mirror = self._recorder.settings.mirror
        if run.shared is not None and (run.origin == "program" if mirror is None else mirror):
            self._show(run, self._mirrored(run))

    def visit_started(self, visit: Visit) -> None:
        """Show the stage as it is now."""
        mirror = self._recorder.settings.mirror
        if not (visit.code.origin == "program" if mirror is None else mirror):
            return
        run, own = visit.run, visit.shared
        shared: Any = run.shared
        mirrored = self._runs.get(run)
        if mirrored is None or not mirrored.shown:
            if shared is None and own is None:
                return
            mirrored = self._mirrored(run)
            self._show(run, mirrored)
        if shared is not None:
            self._put(run, mirrored, visit.record, shared)
        if own is not shared and own is not None:  # It may be that of another run.
            self._put(self._recorder.registry.of_store(own) or run, mirrored, visit.record, own)

    stage_changed = visit_ended = visit_started

    def wait_started(self, visit: Visit, waiting: Waiting) -> None:  # noqa: ARG002 - the entry says what for
        """Show that it waits, or goes on."""
        self.visit_started(visit)

    wait_ended = wait_started

    def stage_noted(self, record: StageRecord, shared: Any) -> None:
        """Show it: a tracker is in the program itself."""
        if self._recorder.settings.mirror is False:
            return
        run = record.run
        mirrored = self._mirrored(run)
        self._show(run, mirrored)
        for store in (run.shared, None if shared is run.shared else shared):
            if store is not None:
                self._put(self._recorder.registry.of_store(store) or run, mirrored, record, store)

    def run_ended(self, run: Run) -> None:
        """Let go of what was mirrored; of the runs that go on over the same store the last is said again."""
        mirrored, beside = self._runs.pop(run, None), self._recorder.registry.beside(run)
        if not beside:
            self._desks.pop(run.lock, None)
        elif mirrored is not None and (shown := [each for each in beside if each in self._runs]):
            shared: Any = run.shared
            last = shown[-1]
            if _is_plain(shared):
                with run.lock:
                    self._say_again(run, last, shared)
            else:
                self._desk(run).hand_in((run, last), lambda: self._say_again(run, last, shared))

    def _mirrored(self, run: Run) -> _Mirrored:
        """What is mirrored of a run; of one that another thread has ended meanwhile it is kept no more."""
        mirrored = self._runs.get(run) or self._runs.setdefault(run, _Mirrored(self._desk(run)))
        if run.ended is not None:
            self._runs.pop(run, None)
            mirrored.shown = True
        return mirrored

    @staticmethod
    def _say_again(ended: Run, last: Run, shared: Any) -> None:
        said = saved_run(shared)
        if said is not None and said["run_id"] == ended.id and last.ended is None:
            write(shared, PROGRESS_RUN, to_save(last))

    def _show(self, run: Run, mirrored: _Mirrored) -> None:
        """What the run brought with it. What an earlier run left in the store goes; what a user prepared stays."""
        shared: Any = run.shared
        if mirrored.shown or shared is None:  # In another thread, or it has ended; or a store may come yet.
            return
        mirrored.shown = True
        if _is_plain(shared):
            replaced = shared.get(PROGRESS_METRICS), shared.get(PROGRESS_RUN)
            with run.lock:
                self._begin(run, mirrored, shared)
            del replaced  # What the workflow had there may have a finalizer: not while the lock is held.
        else:
            self._desk(run).hand_in(run, lambda: self._begin(run, mirrored, shared))

    def _begin(self, run: Run, mirrored: _Mirrored, shared: Any) -> None:
        mirrored.entries.update(run.entries())
        earlier, metrics = saved_run(shared), read(shared, PROGRESS_METRICS)
        if run.fresh and earlier is not None and earlier["run_id"] != run.id:  # Another thread may have said it.
            beside = self._recorder.registry.beside(run)
            with run.lock:  # It is theirs, too.
                shown = [self._runs[other].entries for other in beside if other in self._runs]
                metrics = {stage: entry for entries in shown for stage, entry in entries.items()}
        _write_all(mirrored, shared, metrics)
        if run.fresh or earlier is None:
            write(shared, PROGRESS_RUN, to_save(run))

    def _put(self, owner: Run, mirrored: _Mirrored, record: StageRecord, shared: Any) -> None:
        """Write a stage into a store of the run `owner`."""
        stage = record.name
        if type_of(shared) is dict:  # Under the lock of the store's runs, as plain dicts run no code of the workflow.
            with owner.lock:
                entry = mirrored.entries[stage] = record.entry()
                metrics: Any = shared.get(PROGRESS_METRICS)
                if metrics is None:
                    metrics = {}  # Not in the store: others may read it now.
                if type_of(metrics) is dict:
                    replaced = metrics.get(stage)  # Let go of without the lock, as above.
                    if replaced is None:  # A new stage, or a cleared or replaced store.
                        _write_all(mirrored, shared, metrics)
                    else:
                        metrics[stage] = entry
                    if shared.get(PROGRESS_RUN) is None:
                        shared[PROGRESS_RUN] = to_save(record.run)
                    return
        run = record.run
        self._desk(owner).hand_in((run, stage, id(shared)), lambda: self._write(run, mirrored, stage, shared))

    def _desk(self, owner: Run) -> _Desk:
        """Where is written into its store; of a run that another thread has ended meanwhile it is kept no more."""
        desk = self._desks.get(owner.lock) or self._desks.setdefault(owner.lock, _Desk())
        if owner.ended is not None and not self._recorder.registry.beside(owner):
            self._desks.pop(owner.lock, None)
        return desk

    @staticmethod
    def _write(run: Run, mirrored: _Mirrored, stage: str, shared: Any) -> None:
        with run.lock:
            mirrored.entries[stage] = run.stages[stage].entry()
        _write_all(mirrored, shared, read(shared, PROGRESS_METRICS))
        if read(shared, PROGRESS_RUN) is None:
            write(shared, PROGRESS_RUN, to_save(run))


def _is_plain(shared: Any) -> bool:
    """Whether neither the store nor what stands in it for us has methods of the workflow's."""
    if type_of(shared) is not dict:
        return False
    return {type_of(shared.get(key)) for key in (PROGRESS_METRICS, PROGRESS_RUN)} <= _PLAIN


def _write_all(mirrored: _Mirrored, shared: Any, metrics: Any) -> None:
    theirs = dict(cast("Mapping[str, Any]", metrics)) if isinstance(metrics, Mapping) else {}
    write(shared, PROGRESS_METRICS, {**theirs, **mirrored.entries})
