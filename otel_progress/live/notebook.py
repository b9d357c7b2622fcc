"""One output of a notebook's cell, which is updated while the runs go on that the cell has begun."""

from __future__ import annotations

import _thread
import threading
from collections import OrderedDict
from collections.abc import Callable
from secrets import token_hex
from time import sleep, time_ns  # The program's tests may put others into `time`.
from typing import Any

from ..recording.faults import report
from ..recording.undisturbed import undisturbed
from ..report.cell import as_text
from ..runs.present import Present, RunNow
from .waiting import Waiting

_LOOK = 0.25
"""Seconds between two updates."""
_PATIENCE = 1.0
_MOST_RUNS = 5
"""Of a cell, the last ones."""
_MOST_CELLS = 20
"""The last ones, as runs may go on while other cells run."""


class _Cell:
    """The output of one execution of a cell."""

    def __init__(self) -> None:
        self.display = f"otel-progress-{token_hex(8)}"
        self.waiting = Waiting()
        self.shown = ""
        self._runs: OrderedDict[str, RunNow] = OrderedDict()
        self._before = 0

    def add(self, run: RunNow) -> None:
        """Show this run, for the oldest where there are too many."""
        self._runs[run.id] = run
        if len(self._runs) > _MOST_RUNS:
            self._runs.popitem(last=False)
            self._before += 1

    def text(self) -> str:
        """What there is to show now."""
        return as_text(list(self._runs.values()), time_ns(), self._before)


class Notebook:
    """Shows what this process tells in the cells of the notebook whose `shell` this is.

    A cell has its output when it comes to its first run or stage, so that it stands in the right place. It is updated
    by a thread, and at the end of every cell, as whoever runs all cells may end the kernel then. `flush` has progress
    told that waits.
    """

    def __init__(self, flush: Callable[[], object], shell: Any) -> None:
        self._flush = flush
        self._shell = shell
        self._present = Present()
        self._cells: OrderedDict[str, _Cell] = OrderedDict()
        self._has_thread = False
        self._looking = threading.Lock()
        shell.events.register("post_run_cell", self.finish)

    def add(self, line: bytes) -> None:
        """Have it shown soon, in the cell that it comes from."""
        self._cell_here().waiting.add(line)
        if not self._has_thread:
            self._has_thread = True
            undisturbed(_thread.start_new_thread, self._work, ())

    def finish(self, *_: object) -> None:
        """Show what happened since the last time."""
        if not self._looking.acquire(timeout=_PATIENCE):
            return
        try:
            self._look()
        except Exception as error:
            report("progress cannot be shown in the notebook", error)
        finally:
            self._looking.release()

    def _cell_here(self) -> _Cell:
        """The cell that runs this code; of another thread the last that there is, as nothing tells which began it."""
        is_main = threading.current_thread() is threading.main_thread()
        if self._cells and not is_main:
            return self._cells[next(reversed(self._cells))]
        execution = self._execution()
        cell = self._cells.get(execution)
        if cell is None:
            cell = self._cells[execution] = _Cell()
            if len(self._cells) > _MOST_CELLS:
                self._cells.popitem(last=False)
            self._show(cell, "", update=False)
        return cell

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
        self._flush()
        cells = list(self._cells.values())
        for cell in cells:
            while happened := cell.waiting.take():
                for each in happened:
                    cell.add(self._present.enter(each)[0])
        for cell in cells:
            if (text := cell.text()) != cell.shown:
                self._show(cell, text, update=True)

    def _show(self, cell: _Cell, text: str, *, update: bool) -> None:
        cell.shown = text
        transient = {"display_id": cell.display}
        self._shell.display_pub.publish(data={"text/plain": text}, transient=transient, update=update)
