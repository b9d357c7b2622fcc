"""PocketFlow without a change: every flow a run, every visit of a node a stage.

    from otel_progress import PocketFlowInstrumentor

    PocketFlowInstrumentor().instrument()

or `opentelemetry-instrument python app.py`, or `otel-progress run app.py`. The outermost flow is the run; a flow inside
it is a stage that holds stages. A flow directly inside a `workflow` block is that run. Stages are named by the node's
own `name` or `node_name`, else by its class; `@stage("...")` on a class wins. A run whose flow has neither a name nor a
class of its own is named after the program.

PocketFlow is one file that many people copy into their project. Where no module is named, copies are recognised by
their shape, those that are imported later too; `instrument(module=their_copy)` records that and nothing else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import Span

from .recording import default
from .recording.call import Call, Code, Origin
from .recording.context import Attached
from .recording.faults import Harmless, from_handler, report
from .recording.live import Run
from .recording.recorder import Recorder
from .recording.settings import DETAILS, Settings
from .recording.sink import Sink
from .recording.store import name_of
from .recording.visits import Part, Visit
from .sinks.usual import usual_sinks
from .ways.classes import NodeClass, item_of
from .ways.copies import Copies, bases_of
from .ways.nodes import Nodes, has_opener
from .ways.opening import Opening
from .ways.stage import stage, workflow

NameHook = Callable[[Any], "str | None"]
"""The name of a node's stage; None: the usual one."""
_FLOW, _NODE = workflow(), stage()
_AUTOMATIC = "opentelemetry.instrumentation.auto_instrumentation._load"
"""What `opentelemetry-instrument` imports."""
_SETS_UP = "opentelemetry_configurator"
"""Entry points of what sets up the SDK for it."""
SpanHook = Callable[[Span, Any], object]
"""Adds attributes to a new span, given its node (or flow)."""


class PocketFlowInstrumentor(BaseInstrumentor):
    """Records every flow and node of PocketFlow; see the module.

    Keyword arguments of `instrument()`:

    - `tracer_provider`, `meter_provider`: in the place of the global ones.
    - `module`: the module (or modules) that holds the classes; if left out the installed `pocketflow`, the copies of it
      that are recognised, and those that `OTEL_PROGRESS_MODULES` names. A further call with another module adds that.
    - `name_hook`, `span_hook`: name a stage (not one that `@stage` names), add attributes to a new span.
    - `stage_names`: other names for stages, by those that they would have, such as `{"Director": "agency_director"}`;
      see `OTEL_PROGRESS_STAGE_NAMES`. Decorators and trackers say their names themselves.
    - `include`, `exclude`: patterns of stage names, such as `["Content*"]`; see `OTEL_PROGRESS_INCLUDE`.
    - `detail`: `"none"`, `"phases"`, `"items"` or `"all"`; see `OTEL_PROGRESS_DETAIL`.
    - `platform_key`: the parameter of a batch flow's item that names its platform.
    """

    _nodes: Nodes | None = None
    _modules: tuple[ModuleType, ...] = ()
    _copies: Copies | None = None
    _before: tuple[Recorder, Settings] | None = None
    _sinks: list[tuple[Sink, Sink | None]]
    """Those that `instrument` added, and whose place they took."""
    _name_hook: NameHook | None = None
    _origin: Origin = "program"
    _gave_way = False
    """Whether the recording from outside has ended by the program's own: what it began goes on as it was."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """The PocketFlow versions whose classes are known."""
        return ("pocketflow >= 0.0.2",)

    def instrument(self, **kwargs: Any) -> Any:
        """Begin to record; see the class. A second call only adds a `module` that is not recorded yet.

        The program's own first call takes the place of what was recorded from outside.
        """
        outside = bool(kwargs.get("skip_dep_check"))
        if self.is_instrumented_by_opentelemetry and self._origin == "outside" and not outside:
            self.uninstrument()
            self._gave_way = True
        if self.is_instrumented_by_opentelemetry and "module" in kwargs:
            self._add_modules(_modules(kwargs["module"]))
            return None
        if not self.is_instrumented_by_opentelemetry:
            # `opentelemetry-instrument` asks with this argument: the program itself does not know of the recording.
            self._origin = "outside" if outside else "program"
            if self._origin == "outside" and _AUTOMATIC in sys.modules and not entry_points(group=_SETS_UP):
                report(
                    "opentelemetry-instrument sets up no SDK here, and a program that does not do so itself exports "
                    "nothing: pip install opentelemetry-distro"
                )
        return super().instrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        modules = _modules(kwargs.get("module") or importlib.import_module("pocketflow"))
        recorder = default.recorder
        changes = {key: kwargs[key] for key in ("detail", "platform_key") if kwargs.get(key) is not None}
        changes.update({key: tuple(kwargs[key]) for key in ("include", "exclude") if kwargs.get(key) is not None})
        if (stage_names := kwargs.get("stage_names")) is not None:
            changes["stage_names"] = _given_names(stage_names)
        if changes.get("detail", DETAILS[0]) not in DETAILS:
            raise ValueError(f"detail must be one of {', '.join(DETAILS)}, not {changes['detail']!r}")
        self._before = (recorder, recorder.settings)
        recorder.settings = replace(recorder.settings, **changes)
        self._sinks = []
        tracer_provider, meter_provider = kwargs.get("tracer_provider"), kwargs.get("meter_provider")
        if tracer_provider is not None or meter_provider is not None:
            spans, measured, _ = usual_sinks(recorder, tracer_provider, meter_provider)
            for provider, sink in ((tracer_provider, spans), (meter_provider, measured)):
                if provider is not None:
                    self._exchange(recorder, sink)
        if (span_hook := kwargs.get("span_hook")) is not None:
            hook = _HookSink(span_hook)
            self._sinks.append((hook, None))
            recorder.change(lambda sinks: [*sinks, hook])
        _mark_what_is_inside(tracer_provider or trace.get_tracer_provider())
        self._name_hook = kwargs.get("name_hook")
        self._nodes = Nodes(self._visit)
        self._add_modules(modules)
        if kwargs.get("module") is None:
            self._copies = Copies(recorder.settings.modules, self._found)
            self._copies.begin()

    def _uninstrument(self, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's signature
        if self._copies is not None:
            self._copies.end()
        if self._nodes is not None:
            self._nodes.patches.undo(keep=has_opener)
        if self._before is not None:  # What others have changed meanwhile stays.
            recorder, before = self._before
            own = {
                name: getattr(before, name) for name in ("detail", "platform_key", "include", "exclude", "stage_names")
            }
            recorder.settings = replace(recorder.settings, **own)
            replaced = dict(self._sinks)
            recorder.change(lambda sinks: [old for each in sinks if (old := replaced.get(each, each)) is not None])
        self._modules, self._copies, self._nodes, self._before, self._sinks = (), None, None, None, []
        self._gave_way = False

    def _exchange(self, recorder: Recorder, new: Sink) -> None:
        """Put `new` in the place of the sink of its kind."""

        def exchanged(sinks: list[Sink]) -> list[Sink]:
            self._sinks += [(new, old) for old in sinks if isinstance(old, type(new))]
            return [new if isinstance(each, type(new)) else each for each in sinks]

        recorder.change(exchanged)

    def _add_modules(self, modules: Collection[ModuleType]) -> None:
        for module in modules:
            if self._nodes is not None and module not in self._modules:
                self._modules += (module,)
                for base in _bases(module):
                    self._nodes.patches.wrap(base, inherited=False)
                    self._nodes.patches.watch(base)

    def _found(self, module: ModuleType) -> None:
        """Record a module that has been found."""
        if _bases(module):
            self._add_modules((module,))
        else:
            report(
                f"{module.__name__} is named as a copy of PocketFlow, and has no class with prep, exec, post and _run"
            )

    def _visit(self, info: NodeClass, node: Any, method: str, shared: Any) -> Harmless[Any] | None:
        """How a node is recorded whose class is not decorated; None where it is not."""
        recorder = default.recorder
        settings = recorder.settings
        code = info.code(method, node, self._origin_here() if self._gave_way else self._origin)
        if self._name_hook is not None and (name := self._hooked_name(node)) is not None:
            code = code.named(name)
        elif (given := settings.stage_names.get(code.name)) is not None:
            code = code.named(given)
        if info.is_flow and (run := _whole_run(recorder, shared)) is not None:
            return _Inside(recorder.make_part(run, code.name), node, code)
        if settings.include and not any(fnmatchcase(code.name, pattern) for pattern in settings.include):
            return None
        if settings.exclude and any(fnmatchcase(code.name, pattern) for pattern in settings.exclude):
            return None
        return Opening(_FLOW if info.is_flow else _NODE, Call(code, shared, node, *item_of(node)))

    def _origin_here(self) -> Origin:
        if self._origin == "program" and (at := default.recorder.current()) is not None:
            return at.run.origin  # The store of a run that began before does not begin to change.
        return self._origin

    def _hooked_name(self, node: Any) -> str | None:
        if self._name_hook is None:
            return None
        try:
            name: object = self._name_hook(node)
            return None if name is None else name_of(name)
        except BaseException as error:  # It is the program's own.
            if from_handler(error):
                raise
            report("name_hook failed; the stage has its usual name", error)
            return None


def _modules(given: ModuleType | Collection[ModuleType]) -> tuple[ModuleType, ...]:
    modules = (given,) if isinstance(given, ModuleType) else tuple(given)
    for module in modules:
        if not _bases(module):
            raise ValueError(f"{module.__name__} has no class BaseNode: it is no copy of PocketFlow")
    return modules


def _given_names(given: Any) -> dict[str, str]:
    names = dict(cast("Mapping[Any, Any]", given)) if isinstance(given, Mapping) else None
    if names is None or not all(isinstance(each, str) and each.strip() for pair in names.items() for each in pair):
        raise ValueError(f"stage_names must map names of stages to names, not {given!r}")
    return {name: name_of(other) for name, other in names.items()}


def _bases(module: ModuleType) -> list[type]:
    """The classes that its nodes derive from."""
    base = getattr(module, "BaseNode", None)
    return [base] if isinstance(base, type) else bases_of(module)


def _mark_what_is_inside(provider: Any) -> None:
    """Let spans and log records that others make inside a stage say so, if `provider` is the SDK's."""
    if hasattr(provider, "add_span_processor"):
        # They import the SDK, which may be missing.
        from opentelemetry._logs import get_logger_provider  # noqa: PLC0415

        from .telemetry.membership import mark_logs_inside, mark_spans_inside  # noqa: PLC0415

        mark_spans_inside(provider)
        mark_logs_inside(get_logger_provider())


def _whole_run(recorder: Recorder, shared: Any) -> Run | None:
    """The run that a flow which starts here is: that of a `workflow` block directly around it, over the same store."""
    current = recorder.current()
    if not isinstance(current, Run) or current.implicit or current.node is not None or not recorder.is_open(current):
        return None
    return current if current.shared is None or current.shared is shared else None


class _HookSink(Sink):
    """Calls the user's hook with every new span of a flow or node."""

    def __init__(self, hook: SpanHook) -> None:
        self._hook = hook

    def run_shown(self, run: Run) -> None:
        """Call it for a flow: only now, when no other thread waits for the run's span."""
        if run.node is not None:
            self._hook(run.span, run.node)

    def visit_started(self, visit: Visit) -> None:
        """Call it for a node, or a flow inside a flow."""
        if visit.node is not None:
            self._hook(visit.span, visit.node)


class _Inside(Attached):
    """Says which flow the run is, in the context and only there."""

    def __init__(self, part: Part, node: object, code: Code) -> None:
        super().__init__(part.context)
        self._part = part
        part.node, part.code = node, code

    def leave(self, error: BaseException | None) -> None:
        """Detach, and let go of the flow."""
        super().leave(error)
        self._part.node = None
