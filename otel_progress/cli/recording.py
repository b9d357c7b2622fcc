"""What `otel-progress run` records of a program, and what it says of it at its end."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ..live.telling import Telling
from ..recording import default
from ..recording.faults import report
from ..recording.sources import program_name
from ..report import table
from ..report.children import add_children
from ..report.counting import CountingSink
from ..runs.record import Record
from ..telemetry.declared import config_file
from ..telemetry.early import watch_early_spans
from ..telemetry.environment import read_environment
from ..telemetry.exporters import exporters
from ..telemetry.lifetime import Telemetry, process
from ..telemetry.signals import die_of_sigterm, exit_on_sigterm, finish_after, watch
from . import children
from .completing import complete, note_what_children_export
from .instrumented import instrument
from .progress import telling
from .providers import service, set_up
from .said import say, show_command
from .started import tell_of_children, watch_what_is_started
from .unseen import hide_our_threads

_NOTHING = """\
otel-progress: no stage was recorded. Does the program use @stage, workflow() or
a tracker? Is a copy of PocketFlow not recognised? --module NAME names it. Is it
in a notebook's kernel, or another process? `otel-progress run --help` says what
is seen, and what is not."""


class Recording(CountingSink):
    """What is recorded of a program, from before it starts until the table after its end.

    The end is an exit handler, registered before the program can register any: so it comes after the program's threads
    and handlers, and the exit code stays Python's business. Providers are set up as late as can be, when the first run
    starts: so a program that has providers of its own, or calls `configure`, is first.
    """

    def __init__(self, service_name: str | None, keep: int, days: int, *, lines: bool, quiet: bool) -> None:
        super().__init__()
        self._service_name = service_name
        self._keep = keep, days
        self._lines = lines
        """Whether to tell what goes on."""
        self._quiet = quiet
        """Whether to say only what is wrong."""
        self._telling: Telling | None = None
        self.table_comes: Callable[[], object] | None = None
        """Called before the table is printed."""
        self._pid = os.getpid()
        self._is_set_up = False
        self._was_broken_off = False
        self._known = {"exit_code": 0}
        """How the process ends, as far as that is known before it does."""
        self._setting_up = threading.RLock()
        # What is wrong is said before the program starts, and what takes long is not done in the first run's time.
        if config_file() is None and any(exporters(None, only_named=True).values()):
            with contextlib.suppress(ImportError):
                importlib.import_module("requests")

    def begin(self) -> None:
        """Take part in the process that the program is about to run in."""
        # That of `multiprocessing`, which is imported with us, waits for the program's children, and ends daemons among
        # them: they are to have told all that they tell.
        children_end: Callable[[], object] | None = vars(multiprocessing.util).get("_exit_function")
        if not exit_on_sigterm(self._finish, at_once=False, before=children_end):
            atexit.register(self._finish)
            if children_end is not None:
                finish_after(children_end)
        children.leave()
        default.show(False)  # What goes on is told once.
        self._record = Record(program_name())
        if self._record.path is not None:
            process.companions.append(self._record.processor)
            process.log_companions.append(self._record.log_processor)
            writer = self._record.writer(lambda: service(self._service_name))
            writer.attach(default.recorder)
            if self._lines:
                self._telling = telling(self._record.folder)
                tell_of_children(self._telling.start)
            children.hand_on(self._record.folder, self._service_name, writer)
            note_what_children_export(self._record.folder, of=self._pid)
        recorder = default.recorder
        recorder.change(lambda sinks: [self, *sinks])
        recorder.prepare = self.set_up
        watch_early_spans()
        watch_what_is_started()
        hide_our_threads()
        instrument()

    @property
    def folder(self) -> Path | None:
        """Where the record is, or is going to be; known from `begin` on, None where nothing can be written."""
        return None if self._record.path is None else self._record.folder

    def broken_off(self, error: BaseException) -> None:
        """Note what the program has ended with, if it was not its end: then it may not have come to its stages."""
        self._was_broken_off = not (isinstance(error, SystemExit) and error.code in (None, 0))
        if isinstance(error, KeyboardInterrupt):
            self._known = {"signal": signal.SIGINT}
        elif isinstance(error, SystemExit):
            code = error.code
            self._known = {"exit_code": code & 0xFF if isinstance(code, int) else int(code is not None)}
        else:
            self._known = {"exit_code": 1}

    def set_up(self) -> None:
        """Set up what the program has not, and have the record written: before a run begins, not in its time."""
        if self._is_set_up:
            return
        with self._setting_up:
            if not self._is_set_up:
                try:
                    watch()
                    set_up(self._service_name)
                    read_environment()
                except Exception as error:
                    report("the telemetry cannot be set up: spans and metrics are not recorded", error)
                self._is_set_up = True
                if self._telling is not None:
                    self._telling.start()

    def _finish(self) -> None:
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the wait for the collector.
                if os.getpid() == self._pid and self._record.path is not None:
                    complete(self._record)
                if process.telemetry is not None:
                    process.telemetry.shutdown()
                default.recorder.close()
            if os.getpid() == self._pid:
                if self._telling is not None:
                    self._telling.finish()
                if self.table_comes is not None:
                    self.table_comes()
                if self._quiet:
                    self._print_what_is_wrong()
                else:
                    self._print()
        finally:
            if process.terminated:  # Die of the signal, as the program would have without us.
                for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
                    flush()
                die_of_sigterm()

    def _print(self) -> None:
        known = {"signal": signal.SIGTERM} if process.terminated else self._known
        kept = self._record.finish(*self._keep, **known)
        adding = self.totals()
        adding.close(add_children(adding, self._record.told_by_others(), self._record.living()))
        workflows = [each for each in adding.workflows.values() if each.runs or each.row.rows]
        if sys.__stderr__ is None:  # Closed. Rich would take standard output, which is the program's.
            return
        console = table.console(sys.__stderr__)
        if workflows:
            table.show(console, workflows, self._look if kept else None)
        elif not kept and not self._was_broken_off:
            console.print(_NOTHING)
        if kept and self._record.fault is None:
            console.print(f"Record: {self._record.path}", style="dim")
        elif kept:
            console.print(f"Record: {self._record.path}, incomplete: {self._record.fault}", style="red")
        elif workflows:
            console.print(f"Record: none, {self._why_there_is_none()}", style="dim")
        if process.telemetry is not None:
            self._print_exported(console, process.telemetry)

    def _print_what_is_wrong(self) -> None:
        known = {"signal": signal.SIGTERM} if process.terminated else self._known
        kept, workflows = self._record.finish(*self._keep, **known), self.totals().workflows
        if kept and self._record.fault is not None:
            say(f"otel-progress: {self._record.path} is incomplete: {self._record.fault}")
        elif not kept and not workflows and not self._was_broken_off:
            say(_NOTHING)
        elif not kept and workflows:
            say(f"otel-progress: there is no record: {self._why_there_is_none()}")
        telemetry = process.telemetry
        if telemetry is not None:
            for exporter in telemetry.exporters:
                if exporter.endpoint is not None and (exporter.failed or not exporter.ended):
                    say(f"otel-progress: {exporter.endpoint} did not take all spans, only {exporter.exported}")

    def _look(self, run: str) -> str:
        return show_command(run, self._record.path) if self._record.tells_of(run) else ""

    @staticmethod
    def _print_exported(console: Console, telemetry: Telemetry) -> None:
        for exporter in telemetry.exporters:
            if exporter.endpoint is None:
                continue
            done = "Exported" if exporter.reads_answers else "Sent"
            if exporter.ended and not exporter.failed:
                console.print(f"{done}: {exporter.exported} spans to {exporter.endpoint}", style="dim")
            else:
                what = f"{done}: {exporter.exported} spans to {exporter.endpoint}, which did not take the rest"
                console.print(what, style="red")

    def _why_there_is_none(self) -> str:
        if self._record.path is None:
            return "no folder can be written"
        if self._record.fault is not None:
            return self._record.fault
        return "it is not there any more"
