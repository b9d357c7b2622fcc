"""`stage` and `workflow`: each is a decorator and a context manager."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from ..recording.live import Run
from ..recording.settings import parse_duration
from ..recording.visits import Visit
from . import nodes
from .functions import decorated
from .objects import is_called, recorded_object, stands_for_function
from .opener import Opener


class _Runnable(Protocol):
    """An object that is called by `invoke`."""

    @property
    def invoke(self) -> Callable[..., Any]:
        """The method."""
        ...


F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any] | _Runnable")
T = TypeVar("T", bound="Run | Visit")


class _Way(Opener[T]):
    """An opener that is also a decorator, bare or with arguments."""

    def __init_subclass__(cls) -> None:
        """Say which arguments it takes: `__new__` takes any."""
        _, *arguments = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]

    def __new__(cls, name: object = None, **given: Any) -> Any:  # pyright: ignore[reportInconsistentConstructor]
        """An opener; but of the bare one above a `def` or class, that, decorated."""
        made = super().__new__(cls)
        if not _is_target(name):
            return made
        made.__init__(None, **given)
        return made(cast("Any", name))

    def __call__(self, target: F) -> F:
        """Record every call of `target`: a function of any kind, a node class (changed in place), or an object.

        Of an object one like it comes back, recorded: with its attributes, of a subclass. It itself stays unrecorded.

        Raises:
            TypeError: `target` is none of these: neither callable nor a class with `prep`, `exec` or `post`; or it is
                an object that stands for a function, or a class whose visits cannot be recorded. It says what to write.
        """
        kind = type(self).__name__
        what: Any = target
        if isinstance(what, (staticmethod, classmethod)):
            method: Any = cast("Any", what)
            return type(method)(self(method.__func__))
        if inspect.isclass(what):
            if (reason := nodes.refusal(what)) is not None:
                raise TypeError(
                    f"@{kind} takes a function, or a class with prep, exec or post; {what.__name__} is none: {reason}."
                    f' Write `with {kind}("{self.name or what.__name__}", shared=shared):` around what uses it'
                )
            nodes.record_class(what, self)
            return target
        if not is_called(what):
            raise TypeError(f"@{kind} takes a function or a node class, not {type(what).__name__}")
        wrapped = stands_for_function(what) and not (inspect.isfunction(what) or inspect.ismethod(what))
        if (inspect.isroutine(what) and not wrapped) or isinstance(what, functools.partial):
            return cast("F", decorated(self, cast("Any", what)))
        return recorded_object(self, what)


def _is_target(name: object) -> bool:
    """Whether what was given first is no name, but what a bare decorator stands above."""
    if name is None or isinstance(name, str):
        return False
    return inspect.isclass(name) or is_called(name) or hasattr(type(name), "__get__")


class stage(_Way[Visit]):  # noqa: N801 - read as a word: `@stage("draft")`, `with stage("draft")`
    """Record a stage: one visit for every call, or for every `with` block.

    As a decorator it takes functions, coroutine functions, generator functions (timed from the first step to the end,
    current only while a step runs), async generator functions, methods, and node classes with `prep`/`exec`/`post`,
    whether their `_run` is called or these one by one. Without a run around it the stage begins one of its own, which
    later stages with the same `shared` join.

        @stage("fact_check", budget="2m")
        def fact_check(shared): ...

        with stage("publish", shared=shared) as visit:
            visit.advance(1, total=6)

    Args:
        name: name of the stage; a decorated function's or class's own name if left out (`@stage` or `@stage()`).
        shared: the workflow's store; if left out, the node's own, an argument named `shared`, or that of the run
            around it.
        platforms: the platforms it works for (a list, a comma-separated text, a number), or a function of the store;
            if left out, the store's `task_requirements.platforms`.
        revision: the revision it works on, or a function of the store; if left out, the store's
            `quality_control.revision_count` or `workflow_state.revision_count`.
        budget: time that a visit may take: seconds, or a text such as `"2m"`. Exported, so that alerts know it.

    Raises:
        ValueError: `budget` is not a duration.
        TypeError: above something that cannot be recorded. It says what to write instead.
    """

    if TYPE_CHECKING:  # The bare decorator gives what it stands above.

        @overload
        def __new__(cls, name: F, /, **given: Any) -> F: ...  # pyright: ignore[reportOverlappingOverload]
        @overload
        def __new__(cls, name: object = None, **given: Any) -> stage: ...
        def __new__(cls, name: object = None, **given: Any) -> Any:  # pyright: ignore[reportInconsistentConstructor]
            """An opener, or what it stands above."""

    def __init__(  # pyright: ignore[reportInconsistentConstructor] - `__new__` is told more
        self,
        name: object = None,
        *,
        shared: Any = None,
        platforms: str | int | Collection[Any] | Callable[[Any], Any] | None = None,
        revision: str | int | Callable[[Any], Any] | None = None,
        budget: str | float | None = None,
    ) -> None:
        super().__init__(name, shared=shared)
        self.code = replace(
            self.code,
            budget=None if budget is None else parse_duration(budget),
            platforms=platforms,
            revision=revision,
        )


class workflow(_Way[Run]):  # noqa: N801 - read as a word, as `stage`
    """Record a run: one for every call, or for every `with` block.

    Inside another run it is a stage that holds stages. A `shared` that another process has saved carries its run and
    its trace on; where this process has ended that run, a new one begins.

        with workflow("pr_campaign", shared=shared):
            ...

    Args:
        name: name of the workflow; a decorated function's or class's own name if left out.
        shared: the workflow's store; if left out, the flow's own or an argument named `shared`.
    """

    if TYPE_CHECKING:

        @overload
        def __new__(cls, name: F, /, **given: Any) -> F: ...  # pyright: ignore[reportOverlappingOverload]
        @overload
        def __new__(cls, name: object = None, **given: Any) -> workflow: ...
        def __new__(cls, name: object = None, **given: Any) -> Any:  # pyright: ignore[reportInconsistentConstructor]
            """An opener, or what it stands above."""

    of_runs = True


def progress(run: Run) -> dict[str, dict[str, Any]]:
    """The record of `run` as `shared["progress_metrics"]` shows it: a fresh dict of JSON values, one entry per stage.

    It is there whatever the store of the workflow takes, and also where there is none.
    """
    return run.entries()
