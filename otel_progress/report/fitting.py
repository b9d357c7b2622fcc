"""What of a table has a place in the columns of a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.cells import cell_len, chop_cells

_WHOLE = 24
"""Columns that a name gets, if it wants them, before any other column does; a longer one is folded or cut."""
_LEAST = 12
"""As many it gets in any case."""


def fitted(
    widths: Mapping[str, int],
    name: str,
    least_first: Sequence[str],
    room: int | None,
    gap: int,
    *,
    least_names: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The columns that there is room for, with their widths.

    Args:
        widths: the columns and the widths that they want.
        name: the column that stays and may be narrower than it wants.
        least_first: the columns that may be left out, the least important one first; the last two only where else the
            names could not be read.
        room: columns of the terminal; None where there is no margin.
        gap: blanks between two columns.
        least_names: for columns that stay where the name can be so wide, what that is.
    """
    kept, least = dict(widths), least_names or {}
    if room is None:
        return kept
    for number, column in enumerate(least_first):
        wanted = min(widths[name], least.get(column, _WHOLE if number < len(least_first) - 2 else _LEAST))
        if left_for(kept, name, room, gap) >= wanted:
            break
        kept.pop(column, None)
    kept[name] = max(1, min(widths[name], left_for(kept, name, room, gap)))
    return kept


def left_for(widths: Mapping[str, int], name: str, room: int, gap: int) -> int:
    """How wide `name` can be beside the others."""
    return room - sum(width + gap for column, width in widths.items() if column != name)


def folded(text: str, room: int) -> Iterator[str]:
    """`text` in lines of at most `room` columns: between words where they are short enough, else within them."""
    if cell_len(text) <= room:
        yield text
        return
    line = ""
    for word in text.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) > room:
            yield line.rstrip()
            line = word
        else:
            line = f"{line} {word}" if line else word
        if cell_len(line) > room:
            *full, line = chop_cells(line, room)
            yield from full
    yield line


def cut(text: str, room: int, mark: str = "…") -> str:
    """`text` in at most `room` columns, with `mark` in the place of its middle: names differ at their ends."""
    if cell_len(text) <= room:
        return text
    left = room - cell_len(mark)
    if left < 2:
        return "".join(_first(_clusters(text), room))
    clusters = _clusters(text)
    tail = _first(reversed(clusters), left // 2)
    head = _first(clusters, left - sum(map(cell_len, tail)))
    return f"{''.join(head)}{mark}{''.join(reversed(tail))}"


def beginning(text: str, room: int, mark: str = "…") -> str:
    """`text` in at most `room` columns, with `mark` in the place of its end, or without it where there is no room."""
    if cell_len(text) <= room:
        return text
    mark = mark if cell_len(mark) < room else ""
    return f"{''.join(_first(_clusters(text), room - cell_len(mark)))}{mark}"


def _clusters(text: str) -> list[str]:
    """The characters of `text`, each with the marks that stand on it and what is joined to it."""
    found: list[str] = []
    for character in text:
        if found and (cell_len(character) == 0 or found[-1].endswith("\u200d")):
            found[-1] += character
        else:
            found.append(character)
    return found


def _first(clusters: Iterable[str], room: int) -> list[str]:
    """As many as there is room for."""
    found: list[str] = []
    for cluster in clusters:
        room -= cell_len(cluster)
        if room < 0:
            break
        found.append(cluster)
    return found


def align(text: str, width: int, *, right: bool) -> str:
    """`text` with blanks to `width` columns: some characters take two."""
    blanks = " " * (width - cell_len(text))
    return f"{blanks}{text}" if right else f"{text}{blanks}"
