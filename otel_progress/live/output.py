"""Where a program's output has left a terminal: whether something may stand beneath it, and what it has changed there.

It reads what the program says and changes none of it. What it does not know counts as something that moves the cursor:
then nothing stands beneath it until a line has been begun that is surely empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPE = b"\x1b"
_SEQUENCE = re.compile(rb"\x1b(?:\[([<=>?]?)([0-9:;]*)([ -/]*[@-~])|([\]PX^_])|([ -/]*[0-OQ-WYZ\\`a-~]))")
_BEGUN = re.compile(rb"\x1b(?:\[[<=>?]?[0-9:;]*[ -/]*|[ -/]*)?\Z")
_END_OF_STRING = re.compile(rb"\x07|\x1b\\|\x18|\x1a")
_LONGEST = 256
"""Bytes of a sequence."""
_MOST_COLOURS = 16
_BLANK = b"\r\x00\x07"
"""What leaves an empty line as it is."""
_ALTERNATE = frozenset((47, 1047, 1049))
_SYNCHRONIZED = 2026
CURSOR, WRAP = 25, 7
_USUALLY: Mapping[int, bool] = {
    **dict.fromkeys((CURSOR, WRAP), True),
    **dict.fromkeys((1, 5, 6, 9, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004), False),
    **dict.fromkeys((*_ALTERNATE, _SYNCHRONIZED), False),
}
"""The private modes that are put back after a program that did not live to do so, as they are without it."""


class Output:
    """Follows what a program says to a terminal of so many `rows`."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.modes: dict[int, bool] = {}
        """Of the private modes that are followed those that are not as usual."""
        self.colours = b""
        """What the program has set of colours, at the last place where something could have stood beneath."""
        self.titled = False
        """Whether the program has set a title."""
        self._colours: list[bytes] = []
        self._is_empty = True
        """Whether the cursor stands at the beginning of an empty line."""
        self._is_first = True
        """Whether it stands in the first column."""
        self._below = 0
        """So many rows below it may hold something, at most."""
        self._before = (True, True, 0)
        """The last three before the alternate screen."""
        self._has_region = False
        self._keypad = False
        self._rest: bytes = b""
        """A sequence that has begun and not ended."""
        self._in_string = False

    @property
    def is_full_screen(self) -> bool:
        """Whether the program has the whole screen, or holds it still."""
        return self._has_region or any(mode in self.modes for mode in (*_ALTERNATE, _SYNCHRONIZED))

    @property
    def is_clear(self) -> bool:
        """Whether something may stand beneath: from the line of the cursor on nothing is there."""
        return (
            self._is_empty and not (self._below or self._rest or self._in_string or self._has_region)
        ) and not self.is_full_screen

    def feed(self, data: bytes) -> int:
        """Follow what is said. Gives behind which byte of it something could stand beneath last; -1: nowhere."""
        known, data, self._rest = len(self._rest), self._rest + data, b""
        at, clear = 0, -1
        while at < len(data):
            if self._in_string:
                found = _END_OF_STRING.search(data, at)
                if found is None:
                    self._rest = _ESCAPE if data.endswith(_ESCAPE) else b""
                    break
                self._in_string, at = False, found.end()
            elif data[at] != 0x1B:
                end = data.find(_ESCAPE, at)
                end = len(data) if end < 0 else end
                clear = max(clear, self._text(data, at, end))
                at = end
            elif found := _SEQUENCE.match(data, at):
                self._sequence(found)
                at = found.end()
            elif len(data) - at < _LONGEST and _BEGUN.match(data, at):
                self._rest = data[at:]
                break
            else:
                self._is_empty, at = False, at + 1
            if self.is_clear:
                clear, self.colours = at, b"".join(self._colours)
        return max(-1, clear - known) if clear >= known else -1

    def put_back(self) -> bytes:
        """What puts the terminal back, after a program that did not live to do so, and begins a line."""
        said = b"\x18" if self._rest or self._in_string else b""
        for mode in sorted(self.modes):
            said += b"\x1b[?%d%c" % (mode, b"h" if _USUALLY[mode] else b"l")
        if self._has_region:
            said += b"\x1b[r"
        if self._keypad:
            said += b"\x1b>"
        if self._colours:
            said += b"\x1b[0m"
        if self._has_region or not (self._is_empty or _ALTERNATE.intersection(self.modes)):
            said += b"\r\n"
        self.__init__(self.rows)
        return said

    def _text(self, data: bytes, start: int, end: int) -> int:
        """Follow plain text; gives where it was clear last, if it was, as far as its ends of lines tell."""
        clear = -1
        last = data.rfind(b"\n", start, end)
        if last >= 0:
            ends = data.count(b"\n", start, end) if self._below else 1
            self._is_empty = ends > self._below
            self._below = max(0, self._below - ends)
            self._is_first = True
            if self.is_clear:
                clear, self.colours = last + 1, b"".join(self._colours)
        if rest := data[last + 1 if last >= 0 else start : end]:
            self._is_empty = self._is_empty and not rest.strip(_BLANK)
            self._is_first = rest.endswith(b"\r") or (self._is_first and not rest.strip(_BLANK))
        return clear

    def _sequence(self, found: re.Match[bytes]) -> None:
        prefix, parameters, final, string, other = found.groups()
        if string is not None:
            self._in_string = True
            self.titled = self.titled or (string == b"]" and found.string[found.end() :][:1] in (b"0", b"1", b"2"))
        elif other is not None:
            self._escape(other)
        elif prefix == b"?" and final in (b"h", b"l"):
            for mode in parameters.split(b";"):
                self._mode(int(mode or b"0"), on=final == b"h")
        elif not prefix:
            self._control(parameters, final)

    def _mode(self, mode: int, *, on: bool) -> None:
        usually = _USUALLY.get(mode)
        if usually is None:
            return
        was = bool(_ALTERNATE.intersection(self.modes))
        if on == usually:
            self.modes.pop(mode, None)
        else:
            self.modes[mode] = on
        is_now = bool(_ALTERNATE.intersection(self.modes))
        if is_now and not was:
            self._before = self._is_empty, self._is_first, self._below
        elif was and not is_now:
            self._is_empty, self._is_first, self._below = self._before

    def _escape(self, what: bytes) -> None:
        if what == b"c":  # Everything as in the beginning.
            self.__init__(self.rows)
        elif what == b"8":
            self._lost()
        elif what in (b"M", b"D", b"E"):
            self._below = min(self.rows, self._below + 1) if what == b"M" else max(0, self._below - 1)
            self._is_empty = False
        elif what in (b"=", b">"):
            self._keypad = what == b"="
        elif what in (b"7", b"#8"):  # A place that is come back to must not scroll meanwhile.
            self._is_empty = False

    def _control(self, parameters: bytes, final: bytes) -> None:
        first, _, second = parameters.partition(b";")
        number = int(first) if first.isdigit() else 0
        if final == b"m":
            self._coloured(parameters)
        elif final in b"AF":
            self._below, self._is_empty = min(self.rows, self._below + (number or 1)), False
            self._is_first = self._is_first or final == b"F"
        elif final in b"BE":
            self._below, self._is_empty = max(0, self._below - (number or 1)), False
            self._is_first = self._is_first or final == b"E"
        elif final in b"Hfdu":
            self._lost()
            self._is_first = final in b"Hf" and second in (b"", b"0", b"1")
        elif final in b"JK":
            self._erased(number, all_below=final == b"J")
        elif final in b"CDG`a":
            self._is_first = final in b"G`" and number <= 1
            self._is_empty = self._is_empty and self._is_first
        elif final == b"r":
            self._has_region = bool(parameters)
            self._lost()
        elif final == b"!p":
            self._has_region, self.modes, self._colours = False, {}, []
        elif final not in b"bcnhltqgi" and len(final) == 1:
            self._is_empty = False

    def _erased(self, what: int, *, all_below: bool) -> None:
        if what in (0, 2):
            if all_below:
                self._below = 0
            self._is_empty = self._is_empty or self._is_first

    def _lost(self) -> None:
        """It is not known in which row the cursor is."""
        self._below, self._is_empty, self._is_first = self.rows, False, False

    def _coloured(self, parameters: bytes) -> None:
        if parameters in (b"", b"0", b"00") or parameters.startswith((b"0;", b";")):
            self._colours = []
        if parameters not in (b"", b"0", b"00"):
            self._colours = [*self._colours[1 - _MOST_COLOURS :], b"\x1b[%bm" % parameters]
