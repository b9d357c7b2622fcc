"""A terminal that is looked at: what was written to it as an emulator shows it."""

from __future__ import annotations

from collections.abc import Iterable

import pyte
from pyte import modes


class Emulated:
    """A terminal of so many columns and rows, with what has scrolled out of it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000)
        self._stream = pyte.ByteStream(self.screen)

    def feed(self, data: bytes) -> None:
        """Show what was written to the terminal, which ends a line by a return as well."""
        self._stream.feed(data.replace(b"\n", b"\r\n"))

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size as xterm does: rows go at the top where the cursor is to stay, else at the end."""
        screen, above = self.screen, max(0, self.screen.cursor.y + 1 - rows)
        for row in range(above):
            screen.history.top.append(screen.buffer[row])
        kept = {row - above: screen.buffer[row] for row in range(above, min(screen.lines, above + rows))}
        cursor = screen.cursor.y - above
        screen.buffer.clear()
        screen.buffer.update(kept)
        screen.resize(screen.lines, columns)
        screen.lines = rows
        screen.cursor.y = cursor
        screen.dirty.update(range(rows))

    @property
    def is_plain(self) -> bool:
        """Whether it is as it was in the beginning: the cursor is shown, lines are broken, no colour is left."""
        usual = {modes.DECTCEM, modes.DECAWM}
        plain = pyte.Screen(1, 1).cursor.attrs
        return usual <= self.screen.mode and not self.screen.cursor.hidden and self.screen.cursor.attrs == plain

    def lines(self) -> list[str]:
        """What stands on it, without blanks at the ends."""
        return without_blanks(self.screen.display)

    def everything(self) -> list[str]:
        """The same, with what has scrolled out before."""
        columns = range(self.screen.columns)
        above = ["".join(line[column].data for column in columns) for line in self.screen.history.top]
        return without_blanks([*above, *self.screen.display])

    def painted(self) -> list[list[tuple[str, str, bool]]]:
        """All of it, with the colour and weight of every character."""
        rows = [*self.screen.history.top, *(self.screen.buffer[row] for row in range(self.screen.lines))]
        return [
            [(row[column].data, row[column].fg, row[column].bold) for column in range(self.screen.columns)]
            for row in rows
        ]


def without_blanks(lines: Iterable[str]) -> list[str]:
    """Lines without blanks at their ends, and without the empty ones behind the last."""
    found = [line.rstrip() for line in lines]
    while found and not found[-1]:
        found.pop()
    return found
