"""Figures as values: JSON as docs/report.md and `report.schema.json` have it, and flat records for tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from ..recording.times import timestamp
from .collecting import WorkflowReport
from .figures import RunFigures, StageFigures
from .many import Distribution, StageOverRuns, WorkflowFigures

VERSION = 1
"""Of the JSON: it grows when a field goes or changes its meaning, not when one comes."""
_TIMES = {"started", "ended", "first", "last"}
_HIDDEN = {"times"}


def to_json(workflows: Iterable[WorkflowReport], source: str) -> dict[str, Any]:
    """A report as JSON values, times as ISO 8601 in UTC."""
    return {
        "version": VERSION,
        "source": source,
        "workflows": [
            {
                **_value(each.figures),
                "insights": [{**_value(insight), "confidence": insight.confidence} for insight in each.insights],
                "last_run": _value(each.last),
            }
            for each in workflows
        ],
    }


def _value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        for name in [each.name for each in fields(value) if each.name not in _HIDDEN]:
            inner = getattr(value, name)
            found[name] = timestamp(inner) if name in _TIMES and isinstance(inner, int) else _value(inner)
        return found
    if isinstance(value, Mapping):
        return {str(key): _value(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple):
        return [_value(inner) for inner in cast("tuple[Any, ...]", value)]
    return round(value, 9) if isinstance(value, float) else value


def to_records(figures: Iterable[RunFigures] | Iterable[WorkflowFigures]) -> list[dict[str, Any]]:
    """One flat record for each stage of each run, or of each workflow over all its runs: for pandas, polars and CSV.

    A mapping or a distribution is a column for each of its parts: `waiting.retry`, `seconds.p90`. Of platforms there is
    how many they are and which is the slowest.
    """
    found: list[dict[str, Any]] = []
    for each in figures:
        if isinstance(each, RunFigures):
            started = timestamp(each.started) if each.started else None
            place = {
                "workflow": each.workflow,
                "run": each.run,
                "started": started,
                "state": each.state,
                "result": each.result,
                "run_seconds": each.seconds,
            }
        else:
            place = {"workflow": each.workflow, "all_runs": each.runs}
        found += [{**place, **_flat(stage)} for stage in each.stages]
    columns = dict.fromkeys(name for record in found for name in record)
    return [{name: record.get(name) for name in columns} for record in found]


def _flat(stage: StageFigures | StageOverRuns) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in [each.name for each in fields(stage)]:
        value: Any = getattr(stage, name)
        if name == "platforms":
            found["platforms"] = len(stage.platforms)
            found["slowest_platform"] = stage.platforms[0].platform if stage.platforms else None
        elif isinstance(value, Distribution):
            found |= {f"{name}.{part}": inner for part, inner in _value(value).items()}
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in cast("Mapping[Any, Any]", value).items()}
        else:
            found[name] = value
    return found
