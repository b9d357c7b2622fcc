"""The stack's servers as programs of this machine: built once by Go, from pinned modules, into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

PROGRAMS = {
    "collector": "collector",
    "jaeger": "jaeger",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "alertmanager": "alertmanager",
    "amtool": "alertmanager",
}
"""Each program, and the Go module in `deploy/native` that it is built from."""

_ARGUMENTS = {"collector": ["."], "prometheus": ["-tags", "remove_all_sd", "tool"]}  # No service discovery but files.


class StackError(Exception):
    """Something that the user has to know and can mend."""


def deploy_folder() -> Path:
    """The folder `deploy`: that of the checkout, or the one that the wheel brought; `grafana` is beside it.

    Raises:
        StackError: there is none.
    """
    package = Path(__file__).parent.parent
    for place in (package / "_files", package.parent):
        if (place / "deploy" / "native").is_dir():
            return place / "deploy"
    raise StackError("this installation of otel_progress has no folder deploy")


def program(name: str) -> Path:
    """Where the server or tool `name` is, once it is built."""
    module = PROGRAMS[name]
    digest = hashlib.sha256(" ".join(_ARGUMENTS.get(module, [])).encode())
    for file in sorted((deploy_folder() / "native" / module).iterdir()):
        digest.update(file.read_bytes())
    return user_cache_path("otel-progress") / "servers" / f"{module}-{digest.hexdigest()[:12]}" / name


def build(say: Callable[[str], None]) -> None:
    """Build what is not in the cache yet. `say` is told what goes on.

    Raises:
        StackError: Go is missing, or a build fails.
    """
    missing = sorted({module for name, module in PROGRAMS.items() if not program(name).exists()})
    if not missing:
        return
    if shutil.which("go") is None:
        raise StackError(
            "the servers are built by Go, and there is no `go` on the PATH: install Go 1.25.8 or newer "
            "(https://go.dev/dl), or use containers: `otel-progress stack init DIR`, then `docker compose up -d` in "
            "DIR/deploy"
        )
    for number, module in enumerate(missing, 1):
        say(f"Building {module} ({number} of {len(missing)}): this once, a few minutes ...")
        _build(module, next(program(name).parent for name, each in PROGRAMS.items() if each == module))


def _build(module: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        source = shutil.copytree(deploy_folder() / "native" / module, Path(scratch) / module)
        made = Path(scratch) / "made"
        made.mkdir()
        # Nothing but what go.sum knows is compiled.
        command = [
            "go",
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
            str(made) + os.sep,
        ]
        done = subprocess.run(  # noqa: S603 - our own words
            [*command, *_ARGUMENTS.get(module, ["tool"])], cwd=source, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StackError(f"{module} cannot be built:\n{done.stderr.strip()[-2000:]}")
        shutil.rmtree(folder, ignore_errors=True)  # What a cleaner of caches has left of it.
        with contextlib.suppress(FileExistsError):  # Somebody else was faster.
            made.rename(folder)
