"""Runs as they were recorded: writing them to disk, and reading them back as one plain model.

    from otel_progress.runs import read

    for run in read(".otel-progress"):
        print(run.workflow, run.state, run.seconds, [stage.name for stage in run.stages])

No table and no command: those are in `report` and `cli`.
"""

from .listed import Filter, Listed
from .model import Attempt, Item, Link, Run, Stage, State, Version, Visit, to_json
from .problems import Problem, Problems, SourceError
from .reading import Reading, read

__all__ = [
    "Attempt",
    "Filter",
    "Item",
    "Link",
    "Listed",
    "Problem",
    "Problems",
    "Reading",
    "Run",
    "SourceError",
    "Stage",
    "State",
    "Version",
    "Visit",
    "read",
    "to_json",
]
