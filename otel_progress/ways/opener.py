"""What `stage` and `workflow` have in common: what is known before code is entered, and `with` blocks."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from opentelemetry.context import get_current

from ..recording.call import Call, Code
from ..recording.faults import AlsoAsync
from ..recording.live import Run
from ..recording.place import recorded_in
from ..recording.store import given_store, name_of
from ..recording.visits import Visit
from .opening import Opening

T = TypeVar("T", bound="Run | Visit")


class Opener(AlsoAsync, Generic[T]):
    """Opens runs or visits: by the name, the store and the code that the user gave."""

    of_runs = False
    """Whether it opens runs; inside another run, visits too."""

    def __init__(self, name: object = None, *, shared: Any = None) -> None:
        self.name = None if name is None else name_of(name)
        """The name that the user gave."""
        self.shared = given_store(shared)
        """The store that the user gave."""
        self.code = Code(self.name or type(self).__name__)
        """What is known of its `with` blocks, and of what it decorates but for name and function."""
        self._open: dict[object, Opening[T]] = {}
        """What it has entered and not left, by what is recorded of it."""

    def given(self, recorded: Run | Visit) -> T:
        """What `with ... as` gives."""
        return cast("T", recorded.run if self.of_runs else recorded)

    # --- as a context manager -----------------------------------------------------------------------------------------

    def __enter__(self) -> T:
        opening = Opening(self, Call(self.code, self.shared))
        try:
            value = opening.__enter__()
            self._open[opening if opening.recorded is None else opening.recorded] = opening
            opening.guard()
            return self.given(value)
        except BaseException as error:  # A signal's, between them: nobody will leave what is entered.
            opening.left(error)
            for key in [key for key, each in list(self._open.items()) if each is opening]:
                self._open.pop(key, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # One object may be entered by several tasks or threads at once: each leaves what is current where it is, though
        # that may have ended. Where there is one, it is this one.
        entered = list(self._open)  # Others may enter and leave meanwhile.
        at: object = entered[-1]
        if len(entered) > 1:
            current = recorded_in(get_current())
            while current is not None and current not in self._open:
                current = current.parent
            at = current or at
        opening = self._open.get(at)
        if opening is None:  # It was current nowhere, and another thread has taken it for its own.
            return
        try:
            self._open.pop(at, None)
        finally:
            opening.__exit__(kind, error, traceback)
