"""Reading with two processors: another process takes most of the lines apart, while this one enters what is in them.

To take a line apart costs twice as much as to enter what is in it, so this process takes the first lines itself. What
the other has found in the rest comes in the order in which it was read: nothing is different but the time. The other is
a fork of this one: it is there at once, with the open files of the inputs. Where that cannot be, or is not worth it,
all is read here.
"""

from __future__ import annotations

import marshal
import operator
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any, Protocol

from .collect import Taker
from .ledger import Ledger
from .otlp import EventFact, Fact, SpanFact
from .problems import Problems
from .sources import Extent, Input
from .states import Processes

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

WORTH_IT = 8 * 1024 * 1024
"""Bytes from which on it is quicker."""
_OWN = 0.25
"""The part that this process takes: then both have done at once."""
_AT_ONCE = 500
"""Facts."""
_of_span = operator.attrgetter(*(each.name for each in fields(SpanFact)))
_of_event = operator.attrgetter(*(each.name for each in fields(EventFact)))
_OF_EVENT = len(fields(EventFact))


class LostError(Exception):
    """Not all was read: the other process is gone, or a file is not what it seemed to be."""


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
    sizes = [each.size() for each in inputs] if _has_two_processors() else []
    if sum(sizes) < WORTH_IT or _may_have_no_children():
        yield inputs
        return
    own, left = 0, int(sum(sizes) * _OWN)
    while sizes[own] <= left:
        left -= sizes[own]
        own += 1
    place = inputs[own].line_at(left)
    with ExitStack() as stack:
        try:
            spool = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            pipe = stack.enter_context(_forked(inputs[own:], place, spool, details=details))
        except OSError:  # There is no room for a file, or for a process.
            yield inputs
            return
        heard = _Heard(pipe, spool)
        others = [_Told(each, heard) for each in inputs[own:]]
        others[0].begins = place
        yield [*inputs[:own], *others]


def _has_two_processors() -> bool:
    """And whether this one can be forked: a fork has no other threads, but what they hold."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


def _may_have_no_children() -> bool:
    """Whether it is a worker of a pool, mostly."""
    import multiprocessing  # noqa: PLC0415 - mostly not needed

    return multiprocessing.current_process().daemon


@contextmanager
def _forked(inputs: Sequence[Input], place: Extent | None, spool: IO[bytes], *, details: bool) -> Generator[Connection]:
    """Another process, for as long as it is of use, and the pipe by which it tells what it has written."""
    import multiprocessing  # noqa: PLC0415 - mostly not needed

    here, there = multiprocessing.Pipe(duplex=False)
    what = inputs, place, _Teller(there, spool, details=details), here
    other = multiprocessing.get_context("fork").Process(target=_tell, args=what, daemon=True)
    other.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        other.kill()
        other.join()


class _Heard:
    """What the other process has told. It is in a file, so that it need not wait until this one has time for it."""

    def __init__(self, pipe: Connection, spool: IO[bytes]) -> None:
        self._pipe = pipe
        self._spool = spool.fileno()
        self._read = 0

    def next(self) -> bytes:
        """What comes next."""
        try:
            size = int(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise LostError from None
        told = os.pread(self._spool, size, self._read)
        self._read += size
        return told


class _Told:
    """An input that the other process reads."""

    def __init__(self, of: Input, heard: _Heard) -> None:
        self.name = of.name
        self._of = of
        self._heard = heard
        self.begins: Extent | None = None
        """Where the other begins, if that is not at its beginning."""

    def processes(self, problems: Problems) -> Processes:
        """As they were before it was read."""
        _ = problems  # They come behind those of the lines.
        return pickle.loads(self._heard.next())  # noqa: S301 - it is from our own fork

    def read(self, collector: Taker, problems: Problems, *, growing: bool = False) -> None:
        """Give everything to the collector."""
        if (place := self.begins) is not None:
            extents = self._of.read(collector, problems, until=place.offset, growing=growing)
            if any((each.offset, each.lines) != (place.offset, place.lines) for each in extents.values()):
                raise LostError
        while told := marshal.loads(self._heard.next()):  # noqa: S302
            for each in told:
                if type(each) is bytes:
                    collector.replace(pickle.loads(each))  # noqa: S301
                else:
                    collector.add(EventFact(*each) if len(each) == _OF_EVENT else SpanFact(*each))
        problems.take(pickle.loads(self._heard.next()))  # noqa: S301


class _Teller:
    """What tells the first process of everything."""

    exceptions = False

    def __init__(self, pipe: Connection, spool: IO[bytes], *, details: bool) -> None:
        self.details = details
        self._pipe = pipe
        self._spool = spool
        self._facts: list[tuple[Any, ...] | bytes] = []

    def add(self, fact: Fact) -> None:
        """Tell of a fact."""
        self._add(_of_span(fact) if isinstance(fact, SpanFact) else _of_event(fact))

    def replace(self, ledger: Ledger) -> None:
        """Tell of a run that is known as a whole."""
        self._add(pickle.dumps(ledger))

    def _add(self, what: tuple[Any, ...] | bytes) -> None:
        self._facts.append(what)
        if len(self._facts) == _AT_ONCE:
            self._send_facts()

    def _send_facts(self) -> None:
        self.send(marshal.dumps(self._facts))
        self._facts.clear()

    def done(self) -> None:
        """These were all facts of an input."""
        if self._facts:
            self._send_facts()
        self._send_facts()

    def send(self, told: bytes) -> None:
        """Tell of something."""
        left = memoryview(told)
        while left:
            left = left[self._spool.write(left) :]
        self._pipe.send_bytes(b"%d" % len(told))


def _tell(inputs: Sequence[Input], place: Extent | None, teller: _Teller, here: Connection) -> None:
    """What the other process does. It says nothing: what goes wrong in it does so in the first, which reads then."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    here.close()  # Else it would not be seen that the first is gone.
    try:
        for each in inputs:
            problems = Problems()
            processes = each.processes(problems)
            teller.send(pickle.dumps(processes))
            since = None if place is None else dict.fromkeys(each.names, place)
            place = None
            each.read(teller, problems, since=since, growing=processes.live)
            teller.done()
            teller.send(pickle.dumps(problems))
    except BaseException:
        os._exit(1)
