"""A drawing of a graph in layers: what comes first at the top, edges down, and what goes back beside them.

As Sugiyama, Tagawa and Toda have it (1981): circles are opened, each node lies below what leads to it, long edges pass
through places of their own, and the order within a layer follows that of its neighbours.
"""

from __future__ import annotations

import itertools
from typing import Any

_LAYER, _HEIGHT, _GAP, _MARGIN = 92, 38, 34, 16
_LETTER, _NARROW, _WIDE = 7.2, 56, 210
_SWEEPS = 6


def layered(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> tuple[int, int]:
    """Give each node its place (`x`, `y` of its middle, `w`, `h`), each edge its `points`; gives width and height.

    A node that has `w` is at least as wide. An edge that goes back has `back`: its points go up.
    """
    by_id = {node["id"]: node for node in nodes}
    for node in nodes:
        node["w"] = round(min(max(_LETTER * len(node["stage"]) + 34, node.get("w", _NARROW)), _WIDE))
        node["h"] = _HEIGHT
    _open_circles(nodes, edges)
    down = [(edge, *_downwards(edge)) for edge in edges if edge["from"] != edge["to"]]
    layer_of = _layers([node["id"] for node in nodes], [(one, other) for _, one, other in down])
    ways: list[tuple[dict[str, Any], list[str]]] = []
    widths = {node["id"]: float(node["w"]) for node in nodes}
    for number, (edge, one, other) in enumerate(down):
        between = [f"\0{number}/{layer}" for layer in range(layer_of[one] + 1, layer_of[other])]
        for step, each in enumerate(between, layer_of[one] + 1):
            layer_of[each], widths[each] = step, 14.0
        ways.append((edge, [one, *between, other]))
    x, width = _across(layer_of, [way for _, way in ways], widths)
    for node in nodes:
        node["x"], node["y"] = round(x[node["id"]]), _MARGIN + _HEIGHT // 2 + layer_of[node["id"]] * _LAYER
    both = {(edge["from"], edge["to"]) for edge in edges}
    for edge, way in ways:
        edge["beside"] = (edge["to"], edge["from"]) in both  # One goes down, and one back up.
        _draw(edge, way, x, layer_of, by_id)
    for edge in edges:
        if edge["from"] == edge["to"]:
            node = by_id[edge["from"]]
            right, y = node["x"] + node["w"] // 2, node["y"]
            edge["beside"] = False
            edge["points"] = [[right, y - 9], [right + 26, y - 9], [right + 26, y + 9], [right, y + 9]]
    return round(width + 2 * _MARGIN), 2 * _MARGIN + _HEIGHT + max(layer_of.values(), default=0) * _LAYER


def _downwards(edge: dict[str, Any]) -> tuple[str, str]:
    return (edge["to"], edge["from"]) if edge["back"] else (edge["from"], edge["to"])


def _open_circles(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    """Mark the edges that go back to something that led here."""
    out: dict[str, list[dict[str, Any]]] = {}
    for edge in edges:
        edge["back"] = edge["from"] == edge["to"]
        out.setdefault(edge["from"], []).append(edge)
    state: dict[str, int] = {}
    for node in nodes:
        if node["id"] in state:
            continue
        state[node["id"]] = 1
        way = [(node["id"], iter(out.get(node["id"], ())))]
        while way:
            place, rest = way[-1]
            edge = next(rest, None)
            if edge is None:
                state[place] = 2
                way.pop()
            elif state.get(edge["to"]) == 1:
                edge["back"] = True
            elif edge["to"] not in state:
                state[edge["to"]] = 1
                way.append((edge["to"], iter(out.get(edge["to"], ()))))


def _layers(nodes: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Of each node how many lie above it at most."""
    below: dict[str, list[str]] = {}
    above = dict.fromkeys(nodes, 0)
    for one, other in edges:
        below.setdefault(one, []).append(other)
        above[other] += 1
    layer_of = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not above[node]]
    while ready:
        node = ready.pop()
        for other in below.get(node, ()):
            layer_of[other] = max(layer_of[other], layer_of[node] + 1)
            above[other] -= 1
            if not above[other]:
                ready.append(other)
    return layer_of


def _across(
    layer_of: dict[str, int], ways: list[list[str]], widths: dict[str, float]
) -> tuple[dict[str, float], float]:
    """Where each lies from left to right, and how wide it all is."""
    near: dict[str, list[list[str]]] = {each: [[], []] for each in layer_of}
    for way in ways:
        for one, other in itertools.pairwise(way):
            near[one][1].append(other)
            near[other][0].append(one)
    rows: list[list[str]] = [[] for _ in range(max(layer_of.values(), default=0) + 1)]
    for each, layer in layer_of.items():
        rows[layer].append(each)
    x = {each: float(place) for row in rows for place, each in enumerate(row)}
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for row in rows if side == 0 else reversed(rows):
            wanted = {each: _middle([x[other] for other in near[each][side]], x[each]) for each in row}
            row.sort(key=wanted.__getitem__)
            _place(row, wanted if sweep else {}, widths, x)
    left = min((x[each] - widths[each] / 2 for each in x), default=0.0)
    right = max((x[each] + widths[each] / 2 + 30 for each in x), default=0.0)
    return {each: at - left + _MARGIN for each, at in x.items()}, right - left


def _middle(places: list[float], own: float) -> float:
    return sum(places) / len(places) if places else own


def _place(row: list[str], wanted: dict[str, float], widths: dict[str, float], x: dict[str, float]) -> None:
    """Beside each other, and as near to where they are wanted as the order allows."""
    at, behind = 0.0, 0.0
    for number, each in enumerate(row):
        least = behind + (_GAP if number else 0) + widths[each] / 2
        at = max(least, wanted.get(each, least)) if number or wanted else least
        if number == 0 and wanted:
            at = wanted[each]
        x[each], behind = at, at + widths[each] / 2
    if wanted:  # All of them together are as far left of where they are wanted as right of it.
        shift = sum(wanted[each] - x[each] for each in row) / len(row)
        for each in row:
            x[each] += shift


def _draw(
    edge: dict[str, Any],
    way: list[str],
    x: dict[str, float],
    layer_of: dict[str, int],
    by_id: dict[str, dict[str, Any]],
) -> None:
    """The points of an edge; those that go back keep to the right of those that go down."""
    aside = 0.25 if edge["back"] else -0.25 if edge["beside"] else 0.0
    points: list[list[int]] = []
    for number, each in enumerate(way):
        node = by_id.get(each)
        y = _MARGIN + _HEIGHT // 2 + layer_of[each] * _LAYER
        if node is None:
            points += [[round(x[each]), y - _HEIGHT // 2], [round(x[each]), y + _HEIGHT // 2]]
        else:
            side = _HEIGHT // 2 if number == 0 else -_HEIGHT // 2
            points.append([round(x[each] + aside * node["w"]), y + side])
    edge["points"] = points[::-1] if edge["back"] else points
