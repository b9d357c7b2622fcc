"""Wrappers that have the parameters of what they wrap.

So Python itself objects to arguments that do not fit, at the call and in the words that it would have used without the
wrapper, and whoever asks for the parameters of a wrapper gets the true ones. A plain function in front of a coroutine
function or generator function could do the first, but would be no function of that kind to those who ask.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from inspect import Parameter
from typing import Any, cast

MADE = "<otel_progress>"
"""The file that tracebacks say of what is made here."""
_ANY = [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def signed(template: str, function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """The function that `template` tells of, with the parameters of `function`; it sees `names`.

    In the template `{declared}` are the parameters, `{given}` the arguments that hand them on to `__function__`, and
    `{shared}` the argument named `shared`, among `*args` and `**kwargs` too, where `__shared__` finds it; else None.
    """
    parameters = _parameters(function)
    seen = {"__name__": __name__, "__function__": function, "__shared__": _finder(function), **names}
    try:
        made = _compiled(template, parameters, seen)
    except SyntaxError:  # A name that only a program can give.
        parameters = _ANY
        made = _compiled(template, parameters, seen)
    defaults = [each for each in parameters if each.default is not Parameter.empty]
    made.__defaults__ = tuple(each.default for each in defaults if each.kind in _BY_POSITION) or None
    made.__kwdefaults__ = {each.name: each.default for each in defaults if each.kind is each.KEYWORD_ONLY} or None
    if parameters is _ANY:
        say_signature(made, function)
    return made


def _parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters that a call of `function` really has, whatever it says of itself."""
    try:
        found = list(inspect.signature(_bare(function)).parameters.values())
    except (TypeError, ValueError):
        return _ANY
    return _ANY if any(each.name.startswith("__") and each.name.endswith("__") for each in found) else found


def _bare(function: Any) -> Callable[..., Any]:
    """`function` without what is only said of it: a `__signature__`, a `__wrapped__`, annotations."""
    if isinstance(function, functools.partial):
        bound = cast("functools.partial[Any]", function)
        return functools.partial(_bare(bound.func), *bound.args, **bound.keywords)
    if inspect.ismethod(function):
        return types.MethodType(_bare(function.__func__), function.__self__)
    if not inspect.isfunction(function):
        call = inspect.getattr_static(cast("object", type(function)), "__call__", None)
        if not inspect.isfunction(call):
            raise TypeError
        return types.MethodType(_bare(call), function)
    bare = types.FunctionType(function.__code__, {}, None, function.__defaults__, function.__closure__)
    bare.__kwdefaults__ = function.__kwdefaults__
    return bare


def _compiled(template: str, parameters: list[Parameter], names: dict[str, Any]) -> Any:
    declared: list[str] = []
    given: list[str] = []
    kind = None
    for each in parameters:
        if kind is each.POSITIONAL_ONLY and each.kind is not kind:
            declared.append("/")
        if each.kind is each.KEYWORD_ONLY and kind not in (each.KEYWORD_ONLY, each.VAR_POSITIONAL):
            declared.append("*")
        kind = each.kind
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(kind, "")
        declared.append(f"{stars}{each.name}")  # Defaults are objects: the function that is made is given them.
        given.append(f"{each.name}={each.name}" if kind is each.KEYWORD_ONLY else f"{stars}{each.name}")
    if kind is Parameter.POSITIONAL_ONLY:
        declared.append("/")
    source = template.format(declared=", ".join(declared), given=", ".join(given), shared=_shared_of(parameters))
    exec(compile(source, MADE, "exec"), names)  # noqa: S102 - of names of parameters only
    return names["call"]


def _shared_of(parameters: list[Parameter]) -> str:
    """What gives the argument named `shared`."""
    plain = [each.name for each in parameters if each.kind in _BY_POSITION]
    rest = {each.kind: each.name for each in parameters}
    args, kwargs = rest.get(Parameter.VAR_POSITIONAL), rest.get(Parameter.VAR_KEYWORD)
    if "shared" in [each.name for each in parameters if each.name not in (args, kwargs)]:
        return "shared"
    if args is None and kwargs is None:
        return "None"
    positional = "".join(f"{name}, " for name in [*plain, *([f"*{args}"] if args else [])])
    return f"__shared__(({positional}), {kwargs or {}})"


def _finder(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """What finds `shared` in the arguments of a function that takes any: where it says that they are handed on."""
    try:
        said = list(inspect.signature(function).parameters.values())
    except Exception:  # Also what evaluating its annotations raises.
        said = []
    position = next((at for at, each in enumerate(said) if each.name == "shared" and each.kind in _BY_POSITION), -1)

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[position] if 0 <= position < len(args) else kwargs.get("shared")

    return find


def say_signature(made: Any, function: Callable[..., Any]) -> None:
    """Let those who do not look through wrappers find the signature where the wrapper has another one."""
    try:
        made.__signature__ = inspect.signature(function)
    except Exception:  # It has none, or its annotations cannot be evaluated.
        return
