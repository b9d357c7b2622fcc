"""The display of `otel-progress run`: beneath what the program says, and never in its way.

What the program says is passed on byte for byte and in order. While lines stand beneath it, it is held for at most a
twentieth of a second, so that it and they change at once; the beginning of a line for at most a tenth. Nothing stands
beneath the beginning of a line, nor while the program reads keys, or has the whole screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import time_ns
from typing import Protocol

from ..recording.times import NANO
from ..recording.visible import visible
from ..runs.happenings import Happening
from ..runs.present import Present, RunNow
from ..runs.states import Processes
from .known import Known
from .output import Output
from .painting import Line, Painter
from .screen import Ended, Expects, Remaining, Screen

LOOK = 0.1
"""Seconds between two looks at what goes on."""
_LOOK_AT_PROCESSES = 1.0
_FRAME = 0.05
"""Seconds between two times that what the program says and the lines beneath it change at once."""
_UNFINISHED = 0.1
"""Seconds that the beginning of a line is held."""
_QUIET = 0.2
"""Seconds after the program has read keys, or a beginning of a line stood there, before lines come back."""
_MOST_HELD = 32_768
_PATIENCE = 0.03
"""Seconds that are spent on reading before what the program says is looked at again."""
_LONGEST_TITLE = 60
_MOST_EXPECTED = 100


class Source(Protocol):
    """Where it is read what happens."""

    def read(self) -> Sequence[Happening]:
        """What happened since the last time. Nothing: that is all, so far."""
        ...

    def processes(self) -> Processes | None:
        """What became of the processes that tell it; None where that is not known."""
        ...


class Display:
    """What stands beneath the output of a program.

    Of all that can go wrong in it nothing harms the program: then it is off, and says so in one line.

    Args:
        size: columns and rows of the terminal.
        takes: what the terminal is known to take.
        wall: the time of day in nanoseconds.
        encoding: that of the terminal.
        hides_cursor: whether the cursor is hidden while it is there.
    """

    def __init__(
        self,
        size: tuple[int, int],
        takes: Known,
        *,
        wall: Callable[[], int] = time_ns,
        encoding: str = "utf-8",
        hides_cursor: bool = True,
    ) -> None:
        self._size = size
        self._takes = takes
        self._wall = wall
        self._output = Output(size[1])
        self._painter = Painter(
            self._output,
            coloured=takes.coloured,
            synchronized=takes.synchronized,
            encoding=encoding,
            hides_cursor=hides_cursor,
        )
        self._screen = Screen(expects=self._remaining, encoding=encoding)
        self._expects: Expects | None = None
        self._expected: dict[str, tuple[int, Remaining | None]] = {}
        """When that was asked of a run, and what was expected then."""
        self._source: Source | None = None
        self._present = Present()
        self._ended = Ended()
        self._is_off = False
        self._lines: list[Line] = []
        self._rendered: list[bytes] = []
        self._held = b""
        """Said by the program, and not passed on yet."""
        self._clear = 0
        """So much of it ends where something can stand beneath."""
        self._begun = 0.0
        """When what stands behind that came first."""
        self._said = self._painted = self._aside_until = self._looked = self._looked_at_processes = float("-inf")
        self._is_behind = False
        """Whether more has happened than was read."""
        self._told = ""
        self._title = ""
        self._to_say = b""

    # --- what the terminal asks ---------------------------------------------------------------------------------------

    def follow(self, source: Source, expects: Expects | None = None) -> None:
        """Show what this tells; and when a run is expected to end, which is asked once a second."""
        self._source, self._expects = source, expects

    @property
    def is_on(self) -> bool:
        """Whether it shows anything, or is going to."""
        return not self._is_off and self._source is not None

    def enter(self, happened: Iterable[Happening]) -> None:
        """Take in what happened."""
        for each in happened:
            run, _ = self._present.enter(each)
            if run.ended is each:
                self._ended.count(run, each.went)

    def said(self, data: bytes, now: float, *, aside: bool, busy: bool = False) -> bytes:
        """The program says `data`. Gives what is to be written to the terminal now.

        Args:
            data: what it says.
            now: seconds of a clock that only goes forward.
            aside: whether the program reads keys.
            busy: whether the terminal has not taken yet what was given before.
        """
        if self._is_off:
            return data + self._last_words() if data.endswith(b"\n") else data
        self._held += data
        try:
            before, clear = len(self._held) - len(data), self._output.feed(data)
            if clear >= 0:
                self._clear = before + clear
            if len(self._held) > self._clear and (clear >= 0 or before <= self._clear):
                self._begun = now
            self._said = now
            if aside or self._output.is_full_screen:
                return self._step_aside(now)
            return self._release(now, busy=busy)
        except Exception as error:
            return self._give_up(error)

    def tick(self, now: float, *, aside: bool) -> bytes:
        """Time has passed. Gives what is to be written to the terminal, which has taken what was given before."""
        if self._is_off:
            return b""
        try:
            if self._is_behind or now - self._looked >= LOOK:
                self._look(now)
            if aside or self._output.is_full_screen:
                return self._step_aside(now)
            said = self._release(now)
            if not self._output.is_clear and now - self._said >= _UNFINISHED:
                self._aside_until = now + _QUIET
            if self._held or not self._output.is_clear or now < self._aside_until:
                return said
            return said + self._paint(now)
        except Exception as error:
            return self._give_up(error)

    def wake(self, now: float) -> float | None:
        """In how many seconds `tick` is to be called; None: not before something is said."""
        if self._is_off:
            return None
        until = [self._looked + LOOK] if self._source is not None else []
        if self._held:
            until.append(self._painted + _FRAME if self._clear else self._begun + _UNFINISHED)
        if self._is_behind:
            until.append(now)
        return max(0.0, min(until) - now) if until else None

    def resize(self, columns: int, rows: int) -> bytes:
        """The terminal has another size now. Gives what is to be written first."""
        said = self._hide()
        self._size, self._output.rows = (columns, rows), rows
        self._looked = float("-inf")
        return said

    def hide(self) -> bytes:
        """What takes everything away, for now: as the program is stopped, or another shows the terminal."""
        return self._hide() + self._outside(None)

    def finish(self) -> bytes:
        """What takes everything away, for good."""
        said = self.hide()
        self._is_off = True
        return said + (b"\r\n" + self._last_words() if self._to_say else b"")

    def put_back(self) -> bytes:
        """What puts the terminal back after a program that did not live to do so."""
        return self._output.put_back()

    # --- what the program says ----------------------------------------------------------------------------------------

    def _release(self, now: float, *, busy: bool = False) -> bytes:
        """What of that which is held is passed on now."""
        if not self._held:
            return b""
        may_paint = now - self._painted >= _FRAME and now >= self._aside_until and not busy
        if not self._painter.is_there and not (may_paint and self._rendered and self._clear):
            return self._all()
        said = b""
        if self._clear and (may_paint or len(self._held) >= _MOST_HELD):
            said = self._painter.erase() + self._held[: self._clear]
            self._held, self._clear = self._held[self._clear :], 0
            if may_paint:
                said += self._paint(now)
        if self._held and (now - self._begun >= _UNFINISHED or len(self._held) >= _MOST_HELD) and not self._clear:
            self._aside_until = now + _QUIET
            said += self._hide()
        return said

    def _step_aside(self, now: float) -> bytes:
        self._aside_until = now + _QUIET
        return self._hide()

    def _hide(self) -> bytes:
        return self._painter.erase() + self._all()

    def _all(self) -> bytes:
        held, self._held, self._clear = self._held, b"", 0
        return held

    def _give_up(self, error: Exception) -> bytes:
        """Show nothing from now on, and say so at the end."""
        self._is_off = True
        self._to_say = (
            f"otel-progress: the display is off: {type(error).__name__}: {visible(str(error))[:200]}\n"
        ).encode("ascii", "backslashreplace")
        said = self._painter.erase() + self._all() + self._outside(None)
        return said + self._last_words() if self._output.is_clear else said

    def _last_words(self) -> bytes:
        said, self._to_say = self._to_say, b""
        return said

    # --- what goes on -------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Read what happened, and make lines of it."""
        self._looked = now
        if self._source is None:
            return
        processes = None
        if now - self._looked_at_processes >= _LOOK_AT_PROCESSES:
            self._looked_at_processes = now
            processes = self._source.processes()  # Before what they told is read: then it is all there.
        began = self._wall()
        self._is_behind = False
        while happened := self._source.read():
            self.enter(happened)
            if self._wall() - began > _PATIENCE * NANO:
                self._is_behind = True
                break
        if processes is not None and not self._is_behind:
            for change in self._present.look(processes):
                if change.visit is None and change.state == "crashed":
                    self._ended.count(change.run, "failed")
        self._lines = self._screen.lines(list(self._present.runs.values()), self._ended, self._wall(), *self._size)
        self._rendered = self._painter.rendered(self._lines)

    def _remaining(self, run: RunNow, now: int) -> Remaining | None:
        if self._expects is None:
            return None
        asked = self._expected.get(run.id)
        if asked is None or now - asked[0] >= NANO:
            if len(self._expected) >= _MOST_EXPECTED:
                self._expected.clear()
            asked = self._expected[run.id] = now, self._expects(run, now)
        return asked[1]

    def _paint(self, now: float) -> bytes:
        self._painted = now
        return self._painter.paint(self._rendered) + self._outside(next(iter(self._present.runs.values()), None))

    # --- title and progress of the terminal itself --------------------------------------------------------------------

    def _outside(self, run: RunNow | None) -> bytes:
        """What sets the title and the progress that the terminal itself shows; of None, what puts them back."""
        said = b""
        if self._takes.progress:
            told = "" if run is None else self._progress(run)
            if told != self._told:
                self._told = told
                said += f"\x1b]9;4;{told or '0;0'}\x1b\\".encode()
        if self._takes.title and not self._output.titled:
            title = "" if run is None else visible(run.workflow)[:_LONGEST_TITLE]
            if title != self._title:
                if not self._title:
                    said += b"\x1b[22;2t"
                said += f"\x1b]2;{title}\x1b\\".encode() if title else b"\x1b[23;2t"
                self._title = title
        return said

    def _progress(self, run: RunNow) -> str:
        now = self._wall()
        expected = self._remaining(run, now)
        if expected is None or expected.longer_than is not None:
            return "3;0"
        passed = max(0, now - run.began.at) / NANO
        whole = passed + expected.p50_seconds
        return f"1;{int(100 * passed / whole) if whole else 0}"
