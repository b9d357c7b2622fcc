"""A report for a terminal: what is worth saying, the stages, and the last run over its time. One screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from ..insight import Distribution, StageOverRuns, WorkflowReport
from ..recording.times import duration
from ..recording.visible import visible
from .fitting import align, fitted, folded
from .tree import Line
from .waterfall import waterfall

WIDE = 100
"""Columns of the bars where there is no margin."""
_STAGES, _BARS = 12, 14
_RIGHT = (
    "runs",
    "visits",
    "time",
    "p50",
    "p90",
    "p99",
    "own",
    "path",
    "often",
    "waits",
    "rework",
    "retries",
    "pass",
    "trend",
)
_LEAST_FIRST = (
    "pass",
    "p99",
    "often",
    "visits",
    "waits",
    "own",
    "retries",
    "trend",
    "rework",
    "p90",
    "runs",
    "time",
    "p50",
    "path",
)
_SURE = 0.05


def screen(report: WorkflowReport, room: int | None) -> Iterator[Line]:
    """The lines that show one workflow."""
    yield from _folded(_head(report), room, "bold")
    for note in report.last.notes if report.figures.runs == 1 else ():
        yield from _folded(note, room, "dim")
    yield "", ""
    for number, each in enumerate(report.insights, 1):
        runs = "1 run" if each.runs == 1 else f"{each.runs} runs"
        said = f"{number}. {visible(each.text)}: {visible(each.advice)}. ({runs}, {each.confidence} confidence)"
        yield from _folded(said, room, "")
    if report.figures.stages:
        yield "", ""
        yield from _table(report, room)
    bars = list(waterfall(report.run, report.last, room or WIDE, _BARS))
    if bars:
        yield "", ""
        yield from _folded(_legend(report), room, "bold")
        yield from bars


def _folded(text: str, room: int | None, style: str) -> Iterator[Line]:
    yield from ((line, style) for line in (folded(text, room) if room else (text,)))


def _head(report: WorkflowReport) -> str:
    figures = report.figures
    name = visible(figures.workflow) or "(no name)"
    ended = ", ".join(f"{number} {visible(result)}" for result, number in figures.results.items())
    if figures.runs == 1:
        state = visible(report.last.result or report.last.state)
        return f"{name}  {state}  {duration(report.last.seconds)}  run {visible(report.last.run)}"
    said = f"{name}  {figures.runs} runs ({ended})"
    if figures.seconds is not None:
        whole = figures.seconds
        said += f"  p50 {duration(whole.p50)}, p90 {duration(whole.p90)}, p99 {duration(whole.p99)}"
        said += f", spread {whole.spread:.0%}"
        if (trend := _trend(whole)) != "-":
            said += f", trend {trend}"
    return said


def _legend(report: WorkflowReport) -> str:
    inferred = report.last.path.inferred
    of = f", {inferred} of its {len(report.last.path.steps)} steps inferred from times" if inferred else ""
    which = "the run" if report.figures.runs == 1 else f"the last run, {visible(report.last.run[:8])}"
    return f"{which}: █ the critical path{of}; ░ beside it"


def _trend(found: Distribution) -> str:
    """By how much something has grown; `-` where chance does as much."""
    if found.chance > _SURE:
        return "-"
    return f"{'+' if found.change >= 0 else '-'}{duration(abs(found.change))}"


def _table(report: WorkflowReport, room: int | None) -> Iterator[Line]:
    stages = report.figures.stages[:_STAGES]
    several = report.figures.runs > 1
    rows = [_row(stage, report, several=several) for stage in stages]
    kept = [name for name in rows[0] if name == "stage" or any(row[name] not in {"", "-"} for row in rows)]
    widths = {name: max(cell_len(name), *(cell_len(row[name]) for row in rows)) for name in kept}
    widths = fitted(widths, "stage", _LEAST_FIRST, room, gap=2)
    yield from _cells({name: name for name in widths}, widths, "bold")
    for row in rows:
        yield from _cells(row, widths, "")
    if left := len(report.figures.stages) - len(stages):
        yield f"and {left} more stage{'' if left == 1 else 's'}", "dim"


def _row(stage: StageOverRuns, report: WorkflowReport, *, several: bool) -> dict[str, str]:
    runs, wall = max(1, stage.runs), report.figures.seconds.total if report.figures.seconds else report.last.seconds
    one = {each.stage: each for each in report.last.stages}.get(stage.stage)
    critical = stage.critical if several or one is None else one.critical
    own = stage.own if several or one is None else one.own
    found = {"stage": visible(stage.stage), "visits": str(stage.visits)}
    if several:
        found |= {
            "runs": str(stage.runs),
            "p50": duration(stage.seconds.p50),
            "p90": duration(stage.seconds.p90),
            "p99": duration(stage.seconds.p99),
            "trend": _trend(stage.seconds),
        }
    else:
        found["time"] = "-" if one is None else duration(one.seconds)
    found |= {
        "own": _time(own, runs),
        "path": "-" if critical is None or not wall else f"{critical / wall:.0%}",
        "waits": _time(sum(stage.waiting.values()), runs),
        "rework": _time(stage.rework, runs),
        "retries": str(stage.retries) if stage.retries else "-",
        "pass": f"{stage.first_pass / stage.first_visits:.0%}" if stage.first_visits else "-",
    }
    if several:
        found["often"] = "-" if stage.often_critical is None else f"{stage.often_critical:.0%}"
    return found


def _time(seconds: float | None, runs: int) -> str:
    return "-" if not seconds else duration(seconds / runs)


def _cells(row: dict[str, str], widths: dict[str, int], style: str) -> Iterator[Line]:
    names: Sequence[str] = list(folded(row["stage"], widths["stage"]))
    rest = [align(row[name], width, right=name in _RIGHT) for name, width in widths.items() if name != "stage"]
    for number, name in enumerate(names):
        yield "  ".join([align(name, widths["stage"], right=False), *(rest if number == 0 else ())]).rstrip(), style
