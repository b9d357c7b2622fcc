"""The mirror: the record of a run in the workflow's own store, for the workflow itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..names import PROGRESS_METRICS, PROGRESS_RUN
from ..recording.live import Run
from ..recording.recorder import Recorder
from ..recording.registry import saved_run, to_save
from ..recording.sink import Sink
from ..recording.store import read, type_of, write
from ..recording.visits import Visit


class _Mirrored:
    """What is mirrored of one run."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        """The entries last written: making 10,000 of them anew for each new stage would take minutes."""
        self.waiting: dict[tuple[str | None, int], Any] = {}
        """Stages to write (None: all), and where: into stores of other kinds, whose methods are the workflow's."""
        self.writer: dict[None, object] = {}
        """Who writes these: one at a time, so that no update is lost, and nobody waits for him."""
        self.shown = False


class MirrorSink(Sink):
    """Writes `progress_metrics` and `progress_run`. JSON values only, whole entries at a time.

    People iterate over the store, copy it and dump it while others write. So `progress_metrics` never changes its size
    in place: a new stage comes with a new dict, and a known stage's entry is replaced by a new one.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._runs: dict[Run, _Mirrored] = {}

    def run_shown(self, run: Run) -> None:
        """Create both keys."""
        mirror = self._recorder.settings.mirror
        if run.shared is not None and (run.origin == "program" if mirror is None else mirror):
            self._show(run, self._runs.setdefault(run, _Mirrored()))

    def visit_started(self, visit: Visit) -> None:
        """Show the stage as it is now."""
        mirror = self._recorder.settings.mirror
        if not (visit.code.origin == "program" if mirror is None else mirror):
            return
        run, own = visit.run, visit.shared
        shared: Any = run.shared
        if shared is None and own is None:
            return
        mirrored = self._runs.get(run)
        if mirrored is None or not mirrored.shown:
            mirrored = self._runs.setdefault(run, _Mirrored())
            self._show(run, mirrored)
        if type_of(shared) is dict:
            self._write_dict(run, mirrored, visit, shared)
        elif shared is not None:
            self._hand_over(run, mirrored, visit.record.name, shared)
        if own is not None and own is not shared:
            self._hand_over(run, mirrored, visit.record.name, own)

    stage_changed = visit_ended = visit_started

    def run_ended(self, run: Run) -> None:
        """Let go of what was mirrored."""
        self._runs.pop(run, None)

    def _show(self, run: Run, mirrored: _Mirrored) -> None:
        """What the run brought with it. What an earlier run left in the store goes; what a user prepared stays."""
        mirrored.shown = True
        shared: Any = run.shared
        if type_of(shared) is dict:
            with run.lock:
                self._begin(run, mirrored, shared)
        elif shared is not None:
            self._hand_over(run, mirrored, None, shared)

    @staticmethod
    def _begin(run: Run, mirrored: _Mirrored, shared: Any) -> None:
        mirrored.entries.update(run.entries())
        earlier = saved_run(shared)
        _write_all(mirrored, shared, {} if run.fresh and earlier is not None else read(shared, PROGRESS_METRICS))
        if run.fresh or earlier is None:
            write(shared, PROGRESS_RUN, to_save(run))

    @staticmethod
    def _write_dict(run: Run, mirrored: _Mirrored, visit: Visit, shared: Any) -> None:
        # Under the run's lock, as a plain dict runs no code of the workflow.
        stage = visit.record.name
        with run.lock:
            entry = mirrored.entries[stage] = visit.record.entry()
            metrics = shared.get(PROGRESS_METRICS)
            if type(metrics) is dict and stage in metrics:
                metrics[stage] = entry
            else:  # A new stage, or a cleared or replaced store.
                _write_all(mirrored, shared, metrics)
            if shared.get(PROGRESS_RUN) is None:
                shared[PROGRESS_RUN] = to_save(run)

    def _hand_over(self, run: Run, mirrored: _Mirrored, stage: str | None, shared: Any) -> None:
        """Write a stage (None: all) into a store, or let the thread do it that is writing at this moment."""
        mirrored.waiting[stage, id(shared)] = shared  # Once each: a store may be slow to take them.
        me = object()
        while mirrored.waiting:
            try:
                if mirrored.writer.setdefault(None, me) is not me:
                    return
                while mirrored.waiting:
                    for key in list(mirrored.waiting):
                        self._write(run, mirrored, key[0], mirrored.waiting.pop(key))
            finally:
                if mirrored.writer.get(None) is me:
                    mirrored.writer.clear()

    def _write(self, run: Run, mirrored: _Mirrored, stage: str | None, shared: Any) -> None:
        if stage is None:
            self._begin(run, mirrored, shared)
            return
        with run.lock:
            mirrored.entries[stage] = run.stages[stage].entry()
        _write_all(mirrored, shared, read(shared, PROGRESS_METRICS))
        if read(shared, PROGRESS_RUN) is None:
            write(shared, PROGRESS_RUN, to_save(run))


def _write_all(mirrored: _Mirrored, shared: Any, metrics: Any) -> None:
    theirs = dict(cast("Mapping[str, Any]", metrics)) if isinstance(metrics, Mapping) else {}
    write(shared, PROGRESS_METRICS, {**theirs, **mirrored.entries})
