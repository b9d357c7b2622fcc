"""What `otel-progress stack status` and `logs` tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ..recording.visible import visible
from . import state
from .build import StackError
from .control import ending
from .run import Stack, is_healthy, shifted, too_little_room
from .state import State

_LAST = 20


def status(folder: Path) -> tuple[list[str], bool]:
    """What runs over a data folder, as lines, and whether all is well.

    Raises:
        StackError: what is told there cannot be read.
    """
    found = state.read(folder)
    if found is None:
        return [f"No stack runs over {folder}: `otel-progress stack up -d` starts one."], False
    full = too_little_room(folder).splitlines()
    data = [f"Data and logs: {folder}, {_megabytes(folder)}", *full]
    if found.keeper.lives is False and not found.left():
        return [_head(folder, found), *data], False
    stack = Stack(folder, shifted(found.offset))
    states = {name: _state(found, name, server.health) for name, server in stack.servers().items()}
    rows = [("server", "state", "process", "since", "data", "address")]
    for name, each in states.items():
        started = found.servers.get(name)
        process, since = ("", "") if started is None else (str(started.pid), _moment(started.since))
        rows.append((name, each, process, since, _megabytes(folder / name), stack.url(_ADDRESS.get(name, name))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    is_well = found.phase == "up" and bool(found.keeper.lives) and set(states.values()) == {"healthy"}
    return [_head(folder, found), "", *lines, "", *data, ending(folder, found)], is_well and not full


_ADDRESS = {"collector": "otlp_http"}


def _head(folder: Path, found: State) -> str:
    if found.phase == "failed":
        return f"The stack over {folder} has ended by itself: {found.error}"
    lives = found.keeper.lives
    if lives is None:
        return f"The stack over {folder} runs in another container or on {found.keeper.told.get('host')}, or did."
    if not lives:
        left = "`otel-progress stack down` ends what is left of it" if found.left() else "nothing is left of it"
        return f"The stack over {folder} was killed: {left}."
    how = "detached" if found.is_detached else "in the foreground"
    return f"The stack over {folder} is {found.phase} ({how}), since {_moment(found.keeper.since)}."


def _state(found: State, name: str, health: str) -> str:
    started = found.servers.get(name)
    if started is None or started.lives is False:
        return "gone"
    if started.lives is None:
        return "unknown"
    return "healthy" if is_healthy(health) else "not healthy"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _megabytes(folder: Path) -> str:
    """What a folder takes of the disk: files have holes."""
    size = 0
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except OSError:  # The servers go on.
            continue
        size += getattr(found, "st_blocks", found.st_size / 512) * 512
    return f"{size / 1e6:.1f} MB"


def logs(folder: Path, names: list[str]) -> Iterator[str]:
    """The logs of the servers `names`, whole; without any the end of each one's.

    Raises:
        StackError: there is no such log.
    """
    paths = {path.stem: path for path in sorted((folder / "logs").glob("*.log"))}
    if not paths:
        raise StackError(f"there are no logs in {folder / 'logs'}: no stack has run there")
    for name in names or paths:
        if name not in paths:
            raise StackError(f"there is no log of {name!r}, but of {', '.join(paths)}")
        with paths[name].open(encoding="utf-8", errors="replace") as file:
            lines = file if names else deque(file, _LAST)
            if len(names) != 1:
                yield f"--- {paths[name]}"
            yield from (visible(line.rstrip("\n").expandtabs()) for line in lines)
