"""The path that the flow of a run took, as a graph: which stage led to which, how often, by which actions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..insight.shape import RUN, shape_of
from ..runs.model import Run
from .layers import layered

MOST_STAGES = 200
"""Of more nobody could read a drawing; the table of what led to what is there all the same."""
_START, _END = "start", "end"
_OF_DEAD_END = 104
"""Pixels that its words take."""
_INSIDE, _FOLLOWS, _DEAD_END = "inside", "follows", "dead end"


@dataclass
class _Edge:
    count: int = 0
    actions: Counter[str] = field(default_factory=Counter[str])


_Edges = dict[tuple[str, str, str], _Edge]
"""By where from, where to, and kind."""


def flow_of(run: Run) -> dict[str, Any]:
    """Nodes with their places, and edges with their points and counts; `linked` where the order was recorded at all."""
    counts, linked = _edges(run)
    visits = Counter(visit.stage for visit in run.visits)
    used = dict.fromkeys(end for one, other, _ in counts for end in (one, other))
    nodes = [_node(each, visits) for each in sorted(used, key=lambda each: (each != _START, each == _END))]
    edges: list[dict[str, Any]] = [
        {"from": one, "to": other, "kind": kind, "count": edge.count, "actions": dict(edge.actions)}
        for (one, other, kind), edge in counts.items()
    ]
    drawn = len(nodes) <= MOST_STAGES
    size = layered(nodes, edges) if drawn else (0, 0)
    return {"linked": linked, "drawn": drawn, "width": size[0], "height": size[1], "nodes": nodes, "edges": edges}


def _node(each: str, visits: Counter[str]) -> dict[str, Any]:
    kind, _, stage = each.partition(":")
    node = {"id": each, "kind": kind, "stage": stage, "visits": visits[stage] if kind == "stage" else 0}
    return node | {"w": _OF_DEAD_END} if kind == _DEAD_END else node


def _edges(run: Run) -> tuple[_Edges, bool]:
    shape = shape_of(run)
    found: _Edges = {}
    followed: set[int] = set()
    linked = any(shape.follows) or len(shape.visits) <= 1
    for number, visit in enumerate(shape.visits):
        here, before = f"stage:{visit.stage}", shape.follows[number]
        for each in before:
            followed.add(each)
            earlier = shape.visits[each]
            edge = found.setdefault((f"stage:{earlier.stage}", here, _FOLLOWS), _Edge())
            edge.count += 1
            if earlier.action is not None:
                edge.actions[earlier.action] += 1
        if not before:
            parent = shape.parents[number]
            start = (
                (_START, here, _FOLLOWS) if parent == RUN else (f"stage:{shape.visits[parent].stage}", here, _INSIDE)
            )
            found.setdefault(start, _Edge()).count += 1
    ends = Counter(
        visit.stage
        for number, visit in enumerate(shape.visits)
        if number not in followed and shape.parents[number] == RUN and visit.ended is not None
    )
    dead = {stage.name: stage.dead_ends for stage in run.stages if stage.dead_ends}
    for stage, count in dead.items():
        found[f"stage:{stage}", f"dead end:{stage}", _DEAD_END] = _Edge(count)
    for stage, count in ends.items():
        if count > dead.get(stage, 0):
            found[f"stage:{stage}", _END, _FOLLOWS] = _Edge(count - dead.get(stage, 0))
    if not linked:
        found = {key: edge for key, edge in found.items() if key[2] != _FOLLOWS}
    return found, linked
