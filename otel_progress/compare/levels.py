"""Many questions, one chance of a false answer: how it is shared among them.

A graph of hypotheses, tested one after the other: each has a share of the level, and passes it on to others once it is
rejected. Whatever is true, the chance that any true one is rejected is at most the whole level. F. Bretz, W. Maurer, W.
Brannath and M. Posch, "A Graphical Approach to Sequentially Rejective Multiple Test Procedures", Statistics in Medicine
28 (2009). For counts, whose p has only few values, R. E. Tarone, "A Modified Bonferroni Method for Discrete Data",
Biometrics 46 (1990).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Graph:
    """Who begins with which share of the level, and to whom it passes it on."""

    weights: dict[Any, float]
    """They add up to at most 1."""
    edges: dict[Any, dict[Any, float]]
    """For each the parts that others get once it is rejected; they add up to at most 1."""


def of_run(parts: Mapping[Any, Sequence[Any]], total: Any, share: float, inside: float = 0.0) -> Graph:
    """The graph of a run: its total has a share of the level, its stages have the rest in equal parts.

    The total passes its share on to the stages. A stage passes its own on to the other stages and the total; half of it
    to its own platforms, where it has some: these are asked about only after their stage.

    Args:
        parts: the stages, each with its platforms.
        total: the total; None where nothing is known of it.
        share: of the total, 0 to 1.
        inside: the part of a stage's share that its platforms have from the start, 0 to 1.
    """
    weights: dict[Any, float] = {} if total is None else {total: share if parts else 1.0}
    weights |= dict.fromkeys(parts, (1 - sum(weights.values())) / max(1, len(parts)))
    edges: dict[Any, dict[Any, float]] = {} if total is None else {total: _evenly(parts)}
    for stage, platforms in parts.items():
        others = _evenly(key for key in (*parts, *([] if total is None else [total])) if key != stage)
        kept = 0.5 if platforms else 1.0
        edges[stage] = {key: part * kept for key, part in others.items()}
        edges[stage] |= {key: part * (1 - kept) for key, part in _evenly(platforms).items()}
        for key in platforms:
            weights[key] = weights[stage] * inside / len(platforms)
            edges[key] = _evenly(other for other in platforms if other != key) or others
        weights[stage] *= 1 - inside if platforms else 1
    return Graph(weights, edges)


def _evenly(keys: Iterable[Any]) -> dict[Any, float]:
    found = list(keys)
    return {key: 1 / len(found) for key in found}


def rejected(graph: Graph, p: Mapping[Any, float], level: float) -> dict[Any, tuple[bool, float]]:
    """Which hypotheses are rejected, each with the level that it was tested at in the end.

    Args:
        graph: the shares.
        p: of each hypothesis; what it lacks is not tested.
        level: the chance that any rejection is false.
    """
    weights = {key: graph.weights[key] for key in graph.weights}
    edges = {key: dict(to) for key, to in graph.edges.items()}
    found: dict[Any, tuple[bool, float]] = {}
    while True:
        ready = [key for key in weights if key in p and p[key] <= weights[key] * level and weights[key] > 0]
        if not ready:
            break
        key = min(ready, key=lambda each: p[each] / weights[each])
        found[key] = (True, weights[key] * level)
        weights, edges = _without(key, weights, edges)
    return {key: (False, weights[key] * level) for key in weights} | found


def _without(
    gone: Any, weights: dict[Any, float], edges: dict[Any, dict[Any, float]]
) -> tuple[dict[Any, float], dict[Any, dict[Any, float]]]:
    """The graph once a hypothesis is rejected: who passed on to it passes on to whom it passed on to."""
    left = [key for key in weights if key != gone]
    passed: dict[Any, dict[Any, float]] = {}
    for key in left:
        to = edges[key]
        back = to.get(gone, 0.0) * edges[gone].get(key, 0.0)
        passed[key] = {}
        for other in left:
            if other != key and back < 1:
                value = (to.get(other, 0.0) + to.get(gone, 0.0) * edges[gone].get(other, 0.0)) / (1 - back)
                if value:
                    passed[key][other] = value
    return {key: weights[key] + weights[gone] * edges[gone].get(key, 0.0) for key in left}, passed


def tarone(p: Sequence[float], least: Sequence[float], level: float) -> list[bool]:
    """Which of many counts differ: those count not that could not differ enough, whatever had happened.

    Args:
        p: of each.
        least: the smallest p that each could have had, given what is in both sides together.
        level: the chance that any answer is false.
    """
    able = next((k for k in range(1, len(p) + 1) if sum(each <= level / k for each in least) <= k), max(1, len(p)))
    return [each <= level / able for each in p]
