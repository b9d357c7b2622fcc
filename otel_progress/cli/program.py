"""Loading the program that `otel-progress run` is to run, as Python loads it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types
from pathlib import Path


def load_script(program: str) -> tuple[types.CodeType, types.ModuleType]:
    """The code of the script at this path, and the module to run it in."""
    path = Path(program)
    if path.is_dir():
        raise ValueError("it is a folder; name the script in it")
    absolute = os.path.abspath(program)  # noqa: PTH100 - as Python does: symbolic links stay in the name
    loader = importlib.machinery.SourceFileLoader("__main__", absolute)
    code = loader.source_to_code(path.read_bytes(), absolute)
    module = types.ModuleType("__main__")
    module.__file__ = absolute
    module.__loader__ = loader
    _first_on_path(path.resolve().parent)
    return code, module


def load_module(program: str) -> tuple[types.CodeType, types.ModuleType]:
    """The same for the name of a module."""
    _first_on_path(Path.cwd())
    spec = importlib.util.find_spec(program)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{program}.__main__")
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ImportError(f"no module {program} (or it is a package without __main__, or not written in Python)")
    code = spec.loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"no code in module {program}")
    module = types.ModuleType("__main__")
    module.__file__ = spec.origin
    module.__spec__ = spec
    module.__package__ = spec.parent
    module.__loader__ = spec.loader
    return code, module


def _first_on_path(folder: Path) -> None:
    """Put the program's folder where ours is."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = str(folder)
