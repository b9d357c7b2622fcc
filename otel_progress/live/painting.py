"""Painting lines beneath what a program says, and taking them away again.

The cursor stays where the program has left it: at the beginning of the first of these lines. So however a terminal that
is made narrower breaks them, what takes them away is the same: everything from the cursor on.
"""

from __future__ import annotations

from collections.abc import Sequence

from .output import CURSOR, WRAP, Output

Part = tuple[str, str]
"""A text, and its style: one of `STYLES`, or nothing."""
Line = tuple[Part, ...]

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"


class Painter:
    """What is painted now, and the bytes that change it.

    Args:
        output: what the program has said before.
        coloured: whether with colours, and bold and dim.
        synchronized: whether the terminal shows at once what is written between two marks.
        encoding: that of the terminal.
        hides_cursor: whether the cursor is hidden meanwhile: where whoever paints surely lives to show it again.
    """

    def __init__(
        self,
        output: Output,
        *,
        coloured: bool,
        synchronized: bool,
        encoding: str = "utf-8",
        hides_cursor: bool = True,
    ) -> None:
        self._output = output
        self._hides_cursor = hides_cursor
        self._coloured = coloured
        self._around = (_BEGIN, _END) if synchronized else (b"", b"")
        self._encoding = encoding
        self._painted: list[bytes] = []
        self._colours = b""
        """What the program had set of colours where it is painted."""

    @property
    def is_there(self) -> bool:
        """Whether anything is painted."""
        return bool(self._painted)

    def rendered(self, lines: Sequence[Line]) -> list[bytes]:
        """The bytes of lines."""
        return ["".join(map(self._part, line)).encode(self._encoding, "replace") for line in lines]

    def paint(self, lines: list[bytes]) -> bytes:
        """What makes of what is painted these lines, that are `rendered`; nothing, where they are the same."""
        before, self._painted = self._painted, lines
        if lines == before:
            return b""
        self._colours = self._output.colours
        if not lines:
            return self._erasing(self._cursor_back())
        said, row = self._own(CURSOR) if self._hides_cursor and not before else b"", 0
        for number, line in enumerate(lines):
            if number >= len(before):
                said += (b"\x1b[%dB" % (number - 1 - row) if number - 1 > row else b"") + (b"\r\n" if number else b"")
            elif line == before[number]:
                continue
            elif number > row:
                said += b"\x1b[%dB\r" % (number - row)
            said += line + (b"\x1b[K" if number < len(before) else b"")
            row = number
        if len(lines) < len(before):
            said += b"\x1b[%dB\r\x1b[J\x1b[%dA" % (len(lines) - row, len(lines) - row)
        if row:
            said += b"\x1b[%dA" % row
        return self._whole(self._own(WRAP) + said + b"\r" + self._back(WRAP))

    def erase(self) -> bytes:
        """What takes it away, before the program says something or the size changes."""
        if not self._painted:
            return b""
        self._painted = []
        return self._erasing(self._cursor_back())

    def _erasing(self, more: bytes) -> bytes:
        return self._whole(b"\r\x1b[J" + more)

    def _whole(self, said: bytes) -> bytes:
        """As one change, in no colour of the program's."""
        if self._colours:
            said = b"\x1b[0m" + said + self._colours
        return self._around[0] + said + self._around[1]

    def _own(self, mode: int) -> bytes:
        return b"" if mode in self._output.modes else b"\x1b[?%dl" % mode

    def _back(self, mode: int) -> bytes:
        return b"" if mode in self._output.modes else b"\x1b[?%dh" % mode

    def _cursor_back(self) -> bytes:
        return self._back(CURSOR) if self._hides_cursor else b""

    def _part(self, part: Part) -> str:
        text, style = part
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self._coloured and style else text
