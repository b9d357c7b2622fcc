"""What a tracker sees: stages that are marked as a flow passes, by code that is not the stage's own."""

from __future__ import annotations

from typing import Any

from .call import Call
from .live import Run, Tracking
from .recorder import Recorder
from .registry import saved_run
from .seen import look_at, said_of
from .stages import StageRecord
from .store import store_in_use
from .visits import Visit


def track(recorder: Recorder, call: Call) -> None:
    """A tracker was passed while the stage that `call` names is the current stage.

    The others that trackers began are completed; this one is begun, unless it is open or its own code records it.
    """
    if store_in_use.here:
        return
    ambient, context = recorder.ambient()
    run = recorder.run_for(call, ambient)
    record = run.stage(call.code.name, loose=True)
    stage = record.stage_of(call.code.name)
    recorder.registry.wake(run, call.shared)
    _complete(recorder, run, stage)
    with run.lock:
        visits = [each for each in run.open if each.record is record and each.stage == stage] if record.open else []
    if not visits and not record.by_code:
        visit = Visit(recorder, record, call)
        visit.eventful, visit.tracking = True, Tracking.OPEN
        if recorder.begin(visit, ambient, context) is None:
            track(recorder, call)  # Another thread has ended the run meanwhile, or begun this very stage.
            return
        _complete(recorder, run, stage)  # What other trackers have begun meanwhile.
    else:  # Open, or recorded by its own code: what was read goes to its record only.
        _bring_up_to_date(recorder, record, visits, call)
    if run.unattended:
        recorder.rest(run, call.shared)


def _complete(recorder: Recorder, run: Run, stage: str | None = None) -> None:
    """End what trackers began in a run before `stage`; all of it where that is not among it."""
    with run.lock:
        names = list(run.tracked)
        others = [run.tracked[name] for name in names[: names.index(stage) if stage in names else None]]
        for other in others:
            other.tracking = Tracking.PASSED
    for other in others:
        recorder.end(other)


def _bring_up_to_date(recorder: Recorder, record: StageRecord, visits: list[Visit], call: Call) -> None:
    for each in visits:
        if each.by_tracker:
            each.code = call.code
        each.read_store()
    shared = record.run.shared if call.shared is None else call.shared
    record.note(*said_of(call.code, shared, look_at(shared)))
    recorder.tell("stage_noted", record, call.shared)


def finish_tracked(recorder: Recorder, shared: Any) -> None:
    """Complete every stage that a tracker began in the run of `shared`, and the run, if only trackers kept it."""
    ambient = recorder.current()
    if ambient is not None and recorder.is_open(ambient.run):
        run = ambient.run
    else:
        run = recorder.registry.find(shared, saved_run(shared))
    if run is None:
        return
    was_idle = run.idle
    recorder.registry.wake(run, shared)
    _complete(recorder, run)
    if was_idle:
        recorder.end_idle(run)
    if run.unattended and run.ended is None:
        recorder.rest(run, shared)
