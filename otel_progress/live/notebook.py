"""One output of a notebook's cell, which is updated while the runs go on that the cell has begun."""

from __future__ import annotations

import _thread
import threading
from collections import OrderedDict
from secrets import token_hex
from time import sleep, time_ns  # The program's tests may put others into `time`.
from typing import Any, Protocol

from ..recording.faults import report
from ..report.cell import as_html, as_text
from ..runs.happenings import Happening
from ..runs.present import Present, RunNow

_LOOK = 0.25
"""Seconds between two updates."""
_MOST_RUNS = 5
"""Of a cell, the last ones."""


class _Source(Protocol):
    def read(self) -> list[Happening]:
        """What happened since the last time, in the order of its times."""
        ...


class _Cell:
    """The output of one execution of a cell."""

    def __init__(self, execution: str) -> None:
        self.execution = execution
        self.display = f"otel-progress-{token_hex(8)}"
        self.runs: OrderedDict[str, RunNow] = OrderedDict()
        self.before = 0
        """Runs that are not shown any more."""

    def add(self, run: RunNow) -> None:
        """Show this run, for one that was shown before."""
        self.runs[run.id] = run
        if len(self.runs) > _MOST_RUNS:
            self.runs.popitem(last=False)
            self.before += 1


class Notebook:
    """Shows what a source tells in the cells of the notebook whose `shell` this is.

    A cell has its output when it comes to its first run or stage, so that it stands in the right place. It is updated
    by a thread, and at the end of every cell, as whoever runs all cells may end the kernel then.
    """

    def __init__(self, source: _Source, shell: Any) -> None:
        self._source = source
        self._shell = shell
        self._present = Present()
        self._cell: _Cell | None = None
        self._has_thread = False
        self._looking = threading.Lock()
        shell.events.register("post_run_cell", self.finish)

    def start(self) -> None:
        """Something is told: make the cell's output, if it has none."""
        if threading.current_thread() is not threading.main_thread() and self._cell is not None:
            return  # It may go on while other cells run.
        execution = self._execution()
        if self._cell is None or self._cell.execution != execution:
            self._look()
            self._cell = _Cell(execution)
            self._show(self._cell, update=False)
        if not self._has_thread:
            self._has_thread = True
            _thread.start_new_thread(self._work, ())

    def finish(self, *_: object) -> None:
        """Show the rest."""
        try:
            self._look()
        except Exception as error:
            report("progress cannot be shown in the notebook", error)

    def _execution(self) -> str:
        """What tells one execution of a cell from every other."""
        try:
            return str(self._shell.kernel.get_parent("shell")["header"]["msg_id"])
        except Exception:  # Another kernel than IPython's own.
            return str(self._shell.execution_count)

    def _work(self) -> None:
        while True:
            sleep(_LOOK)
            self.finish()

    def _look(self) -> None:
        """Enter what happened, and show it."""
        if not self._looking.acquire(blocking=False):
            return  # The thread does.
        try:
            cell = self._cell
            is_new = False
            while happened := self._source.read():
                for each in happened:
                    run, _ = self._present.enter(each)
                    if cell is not None:
                        cell.add(run)
                is_new = True
            if cell is not None and (is_new or any(run.ended is None for run in cell.runs.values())):
                self._show(cell, update=True)
        finally:
            self._looking.release()

    def _show(self, cell: _Cell, *, update: bool) -> None:
        runs, now = list(cell.runs.values()), time_ns()
        data = {"text/plain": as_text(runs, now, cell.before), "text/html": as_html(runs, now, cell.before)}
        self._shell.display_pub.publish(data=data, transient={"display_id": cell.display}, update=update)
