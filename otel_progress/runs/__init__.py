"""Runs as they were recorded: writing them to disk, and reading them back as one plain model.

    from otel_progress.runs import read

    for run in read(".otel-progress"):
        print(run.workflow, run.state, run.seconds, [stage.name for stage in run.stages])

No table and no command: those are in `report` and `cli`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .listed import Filter, Listed
    from .model import Attempt, Item, Link, Run, Stage, State, Version, Visit, Wait, to_json
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
    "Wait",
    "read",
    "to_json",
]

_MODULES = {
    "listed": ("Filter", "Listed"),
    "model": ("Attempt", "Item", "Link", "Run", "Stage", "State", "Version", "Visit", "Wait", "to_json"),
    "problems": ("Problem", "Problems", "SourceError"),
    "reading": ("Reading", "read"),
}


def __getattr__(name: str) -> Any:
    # A program that is recorded shall find no more modules than writing its record takes.
    for module, holds in _MODULES.items():
        if name in holds:
            from importlib import import_module  # noqa: PLC0415

            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
