"""`StageFilter`: workflow, run and stage on the records of Python's own logging."""

from __future__ import annotations

import logging

from ..recording import default
from ..recording.faults import passes, report

_FIELDS = ("workflow", "run_id", "stage")


class StageFilter(logging.Filter):
    """Puts `workflow`, `run_id` and `stage` on every record, for the formats of log lines; empty outside of a run.

    For a handler, whatever the SDK is set up to do:

        handler.addFilter(StageFilter())
        handler.setFormatter(logging.Formatter("%(levelname)s %(workflow)s/%(stage)s %(message)s"))

    What a record has under one of these names, by `extra=`, stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        try:
            run, visit = default.current_run(), default.current_stage()
            values = (run.workflow, run.id, visit.stage if visit is not None else "") if run is not None else ("",) * 3
        except BaseException as error:
            if passes(error):
                raise
            report("where a log record belongs could not be found", error)
            values = ("",) * 3
        for name, value in zip(_FIELDS, values, strict=True):
            record.__dict__.setdefault(name, value)
        return True
