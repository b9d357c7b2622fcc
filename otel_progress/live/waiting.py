"""Lines of events on their way from the program's frame to the thread that shows them."""

from __future__ import annotations

from collections import deque

from ..recording.faults import report
from ..runs.happenings import Happening, happenings

_MOST = 20_000
"""Lines, about 1 KB each."""
_AT_ONCE = 1000


class Waiting:
    """Takes lines in one thread, and gives what they tell in another. Neither waits."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()

    def add(self, line: bytes) -> None:
        """Keep a line until it is taken."""
        if len(self._lines) < _MOST:
            self._lines.append(line)
        else:
            report("more happens than can be shown: some of it is not")

    def take(self) -> list[Happening]:
        """What the next lines tell, in the order in which they were added; nothing where there are none."""
        lines = self._lines
        return list(happenings(b"".join([lines.popleft() for _ in range(min(_AT_ONCE, len(lines)))])))

    def clear(self) -> None:
        """Forget what waits."""
        self._lines.clear()
