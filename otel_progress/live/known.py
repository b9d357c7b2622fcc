"""What a terminal is known to take, from its environment; what is not known is not sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DUMB = ("", "dumb", "unknown")
_SYNCHRONIZED = ("xterm-kitty", "xterm-ghostty", "foot", "foot-extra", "alacritty", "wezterm", "contour")
_TITLES = ("xterm-kitty", "foot", "foot-extra")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Known:
    """What is sent to a terminal."""

    moves: bool = True
    """Whether its cursor can be moved at all."""
    coloured: bool = True
    synchronized: bool = False
    """Whether it shows what is written between two marks (private mode 2026) at once."""
    progress: bool = False
    """Whether it has a progress of its own (OSC 9;4)."""
    title: bool = False
    """Whether it has a title that can be put back (XTWINOPS 22 and 23)."""


def known(environment: Mapping[str, str]) -> Known:
    """What the terminal is known to take that these variables tell of."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    coloured = not environment.get("NO_COLOR")
    if term in _DUMB:
        return Known(moves=False, coloured=False)
    if environment.get("TMUX") or environment.get("STY") or term.startswith(("tmux", "screen")):
        return Known(coloured=coloured)  # What the terminal around it takes does not come through.
    version = [int(number) for number in _DIGITS.findall(environment.get("TERM_PROGRAM_VERSION", ""))[:3]]
    windows = "WT_SESSION" in environment
    ghostty = term == "xterm-ghostty" or program == "ghostty"
    return Known(
        coloured=coloured,
        synchronized=term in _SYNCHRONIZED or windows or ghostty or program in {"iTerm.app", "WezTerm"},
        # Earlier versions of some show a notification instead.
        progress=windows
        or "ConEmuPID" in environment
        or ghostty
        or (program == "WezTerm" and version >= [20250209])
        or (program == "iTerm.app" and version >= [3, 6, 6])
        or _number(environment.get("VTE_VERSION")) >= 8000,
        title=term in _TITLES or program == "iTerm.app" or "XTERM_VERSION" in environment,
    )


def size_of(of_terminal: tuple[int, int], environment: Mapping[str, str]) -> tuple[int, int]:
    """Columns and rows: no more than there are, and no more columns than COLUMNS says."""
    said = environment.get("COLUMNS", "")
    asked = int(said) if said.isdecimal() and len(said) < 6 else 0
    columns, rows = of_terminal
    return (min(asked or columns, columns) if columns else asked or 80), rows or 24


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
