"""The mirror: the record of a run in the workflow's own store, for the workflow itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..names import PROGRESS_METRICS, PROGRESS_RUN
from ..recording.live import Run, Visit
from ..recording.recorder import Recorder, Sink
from ..recording.registry import held, saved_run, to_save
from ..recording.store import read, write


class MirrorSink(Sink):
    """Writes `progress_metrics` and `progress_run`. JSON values only, whole entries at a time.

    People iterate over the store, copy it and dump it while others write. So `progress_metrics` never changes its size
    in place: a new stage comes with a new dict, and a known stage's entry is replaced by a new one.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def run_started(self, run: Run) -> None:
        """Create both keys."""
        if run.shared is None or not self._recorder.settings.mirror:
            return
        # A store that has been through another run shows this one only; what a user prepared stays.
        earlier = run.fresh and saved_run(run.shared) is not None
        with held(run.mirror_lock):
            run.mirrored = run.entries()
            self._write_all(run, run.shared, {} if earlier else read(run.shared, PROGRESS_METRICS))
            if run.fresh or saved_run(run.shared) is None:
                write(run.shared, PROGRESS_RUN, to_save(run))

    def visit_started(self, visit: Visit) -> None:
        """Show the stage as open."""
        self._publish(visit.run, visit.stage, visit.shared)

    def stage_changed(self, run: Run, stage: str) -> None:
        """Show the stage as it is now."""
        self._publish(run, stage)

    def visit_ended(self, visit: Visit) -> None:
        """Show the stage as it is now."""
        self._publish(visit.run, visit.stage, visit.shared)

    def _publish(self, run: Run, stage: str, own: Any = None) -> None:
        if not self._recorder.settings.mirror:
            return
        with held(run.mirror_lock):
            entry = run.mirrored[stage] = run.entry(stage) or {}
            for shared in (run.shared, own if own is not run.shared else None):
                if shared is not None:
                    self._write(run, stage, entry, shared)

    def _write(self, run: Run, stage: str, entry: dict[str, Any], shared: Any) -> None:
        metrics = read(shared, PROGRESS_METRICS)
        if type(shared) is dict and type(metrics) is dict and stage in metrics:
            metrics[stage] = entry
        else:  # A new stage, a cleared or replaced store, or one that hands out copies of what it holds.
            self._write_all(run, shared, metrics)
        if read(shared, PROGRESS_RUN) is None:
            write(shared, PROGRESS_RUN, to_save(run))

    @staticmethod
    def _write_all(run: Run, shared: Any, metrics: Any) -> None:
        theirs = dict(cast("Mapping[str, Any]", metrics)) if isinstance(metrics, Mapping) else {}
        write(shared, PROGRESS_METRICS, {**theirs, **run.mirrored})
