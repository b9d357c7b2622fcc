"""Reading with two processors: another process takes the lines apart, while this one enters what is in them.

To take a line apart costs as much as all that is done with it then. What was found comes over a pipe in the order in
which it was read, so that nothing is different but the time. The other process is a fork of this one: that is at once
there, and has the open files of the inputs. Where there is no room for that, or it is not worth it, all is read here.
"""

from __future__ import annotations

import marshal
import operator
import os
import pickle
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from .collect import Taker
from .ledger import Ledger
from .otlp import EventFact, Fact, SpanFact
from .problems import Problems
from .sources import Input
from .states import Processes

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

WORTH_IT = 8 * 1024 * 1024
"""Bytes from which on it is quicker."""
_AT_ONCE = 500
"""Facts: some hundred kilobytes."""
_of_span = operator.attrgetter(*(each.name for each in fields(SpanFact)))
_of_event = operator.attrgetter(*(each.name for each in fields(EventFact)))
_OF_EVENT = len(fields(EventFact))


class LostError(Exception):
    """The other process is gone before all was read."""


class Told(Protocol):
    """An input, as far as it is read from its beginning to its end."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def processes(self, problems: Problems) -> Processes:
        """The processes that write to it; asked for before it is read."""
        ...

    def read(self, collector: Taker, problems: Problems, *, growing: bool = False) -> object:
        """Give everything to the collector."""
        ...


@contextmanager
def told_ahead(inputs: Sequence[Input], *, details: bool) -> Generator[Sequence[Told]]:
    """The same inputs, to be read once and in this order; with `details` also spans that only tell where others lie.

    Raises:
        LostError: while one is read; nothing that was read of any is of use then.
    """
    if not _is_worth_it(inputs):
        yield inputs
        return
    import multiprocessing  # noqa: PLC0415 - mostly not needed

    here, there = multiprocessing.Pipe(duplex=False)
    other = multiprocessing.get_context("fork").Process(target=_tell, args=(inputs, here, there, details), daemon=True)
    other.start()
    there.close()
    try:
        yield [_Told(each.name, here) for each in inputs]
    finally:
        here.close()
        other.kill()
        other.join()


def _is_worth_it(inputs: Sequence[Input]) -> bool:
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2 or threading.active_count() > 1:
        return False  # A fork has no other threads, but what they hold.
    size = 0
    for each in inputs:
        size += each.size()
        if size >= WORTH_IT:
            return True
    return False


class _Told:
    """An input that the other process reads."""

    def __init__(self, name: str, pipe: Connection) -> None:
        self.name = name
        self._pipe = pipe

    def processes(self, problems: Problems) -> Processes:
        """As they were before it was read."""
        _ = problems  # They come with those of the lines.
        return pickle.loads(self._next())  # noqa: S301 - of our own fork

    def read(self, collector: Taker, problems: Problems, *, growing: bool = False) -> None:
        """Give everything to the collector."""
        _ = growing
        while told := marshal.loads(self._next()):  # noqa: S302
            for each in told:
                if type(each) is bytes:
                    collector.replace(pickle.loads(each))  # noqa: S301
                else:
                    collector.add(EventFact(*each) if len(each) == _OF_EVENT else SpanFact(*each))
        problems.take(pickle.loads(self._next()))  # noqa: S301

    def _next(self) -> bytes:
        try:
            return self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise LostError from None


class _Teller:
    """What tells the first process of everything."""

    exceptions = False

    def __init__(self, pipe: Connection, *, details: bool) -> None:
        self.details = details
        self._pipe = pipe
        self._told: list[tuple[Any, ...] | bytes] = []

    def add(self, fact: Fact) -> None:
        """Tell of a fact."""
        self._tell(_of_span(fact) if isinstance(fact, SpanFact) else _of_event(fact))

    def replace(self, ledger: Ledger) -> None:
        """Tell of a run that is known as a whole."""
        self._tell(pickle.dumps(ledger))

    def _tell(self, what: tuple[Any, ...] | bytes) -> None:
        self._told.append(what)
        if len(self._told) == _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Send what was not sent yet."""
        if self._told:
            self._pipe.send_bytes(marshal.dumps(self._told))
            self._told.clear()


def _tell(inputs: Sequence[Input], here: Connection, pipe: Connection, details: bool) -> None:
    """What the other process does. It says nothing: what goes wrong in it does so in the first, which reads then."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    here.close()  # Else it would not be seen that the first is gone.
    try:
        for each in inputs:
            problems, teller = Problems(), _Teller(pipe, details=details)
            processes = each.processes(problems)
            pipe.send_bytes(pickle.dumps(processes))
            each.read(teller, problems, growing=processes.live)
            teller.flush()
            pipe.send_bytes(marshal.dumps([]))
            pipe.send_bytes(pickle.dumps(problems))
    except BaseException:
        os._exit(1)
