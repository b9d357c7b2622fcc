"""Loading the program that `otel-progress run` is to run, as Python loads it."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import types
from pathlib import Path
from typing import Any


def load_script(program: str) -> tuple[types.CodeType, types.ModuleType]:
    """The code of the script at this path, and the module to run it in; of a folder or a zip file its `__main__`."""
    path = Path(program)
    absolute = os.path.abspath(program)  # noqa: PTH100 - as Python does: symbolic links stay in the name
    if (finder := pkgutil.get_importer(absolute)) is not None:
        return _load_main(absolute, finder)
    if path.suffix == ".pyc":
        loader: Any = importlib.machinery.SourcelessFileLoader("__main__", absolute)
        code = loader.get_code("__main__")
    else:
        loader = importlib.machinery.SourceFileLoader("__main__", absolute)
        code = loader.source_to_code(path.read_bytes(), absolute)
    module = _module(absolute, loader)
    _first_on_path(path.resolve().parent)
    return code, module


def _load_main(place: str, finder: Any) -> tuple[types.CodeType, types.ModuleType]:
    spec = finder.find_spec("__main__")
    if spec is None:
        raise ValueError("it is a folder; name the script in it" if Path(place).is_dir() else "it has no __main__")
    code = spec.loader.get_code("__main__")
    del sys.path[: int(_is_first_ours())]
    sys.path.insert(0, place)
    return code, _module(spec.origin, spec.loader, spec)


def load_module(program: str) -> tuple[types.CodeType, types.ModuleType]:
    """The same for the name of a module."""
    _first_on_path(Path.cwd())
    spec = importlib.util.find_spec(program)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{program}.__main__")
    loader: Any = None if spec is None else spec.loader
    code = loader.get_code(program if spec is None else spec.name) if hasattr(loader, "get_code") else None
    if spec is None or code is None:
        raise ImportError(f"no module {program} (or it is a package without __main__, or not written in Python)")
    return code, _module(spec.origin, loader, spec)


def _module(file: str | None, loader: Any, spec: importlib.machinery.ModuleSpec | None = None) -> types.ModuleType:
    """One that holds what Python puts into that of a program."""
    module = types.ModuleType("__main__")
    module.__file__ = file
    module.__loader__ = loader
    module.__spec__ = spec
    if spec is not None:
        module.__package__ = spec.parent
    own: Any = module
    own.__builtins__ = builtins  # Elsewhere it is the dict of that module.
    own.__cached__ = None if spec is None else spec.cached
    if sys.version_info < (3, 14):
        own.__annotations__ = {}
    return module


def _is_first_ours() -> bool:
    return not getattr(sys.flags, "safe_path", False)


def _first_on_path(folder: Path) -> None:
    """Put the program's folder where ours is."""
    if _is_first_ours():
        sys.path[0] = str(folder)
