"""One set of runs alone: how long it takes, and how much that varies. Needs no SciPy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from .samples import Sample


@dataclass(frozen=True)
class Summary:
    """How long something takes: the run itself, a stage for each visit, or a platform of a stage. Seconds."""

    workflow: str
    stage: str | None
    """None: the run itself."""
    platform: str | None
    runs: int
    median: float
    least: float
    most: float
    spread: float
    """As a standard deviation, as a part of the median, and not moved by outliers."""


def summaries_of(samples: Iterable[Sample]) -> list[Summary]:
    """Of the runs that ended well: for each workflow the run first, then its stages, each followed by its platforms."""
    found: dict[tuple[str, str | None, str | None], list[float]] = {}
    for sample in samples:
        if sample.well:
            for (stage, platform), seconds in sample.seconds.items():
                found.setdefault((sample.workflow, stage, platform), []).append(seconds)
    order = {key[:2]: number for number, key in reversed(list(enumerate(found)))}
    return [
        Summary(*key, len(values), median(values), min(values), max(values), spread_of(values))
        for key, values in sorted(found.items(), key=lambda each: order[each[0][:2]])
    ]


def spread_of(seconds: list[float]) -> float:
    """The spread of some durations, from the median of their distances to the median."""
    middle = median(seconds)
    return 1.4826 * median([abs(each - middle) for each in seconds]) / middle if middle > 0 else 0.0
