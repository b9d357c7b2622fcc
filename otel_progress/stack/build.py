"""The stack's servers as programs of this machine: built once by Go, from pinned modules, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from .locks import locked

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
    return cache() / f"{module}-{digest.hexdigest()[:12]}" / name


def cache() -> Path:
    """The folder of what is built."""
    return user_cache_path("otel-progress") / "servers"


def is_built(name: str) -> bool:
    """Whether the server or tool `name` is in the cache, as far as it can be seen."""
    path = program(name)
    return os.access(path, os.X_OK) and path.stat().st_size > 0


def build(say: Callable[[str], None]) -> None:
    """Build what is not in the cache yet. `say` is told what goes on.

    One build at a time: who comes second waits, and finds what the first has built. What a killed build had done is in
    Go's cache, and what it had left unfinished in ours goes away.

    Raises:
        StackError: Go is missing, or a build fails.
    """
    if not _missing():
        return
    cache().mkdir(parents=True, exist_ok=True)
    told: list[str] = []

    def wait() -> bool:
        if not told:
            told.append("Another build of the servers goes on: waiting for it ...")
            say(told[0])
        return True

    with locked(cache(), wait) as lock:
        for left in cache().glob("*.building"):
            shutil.rmtree(left)
        missing = _missing()
        if missing and shutil.which("go") is None:
            raise StackError(
                f"the servers are built by Go, and there is no `go` on the PATH: install Go {_needed()} or newer "
                "(https://go.dev/dl), or use containers: `otel-progress stack init DIR`, then `docker compose up -d` "
                "in DIR/deploy"
            )
        for number, module in enumerate(missing, 1):
            say(f"Building {module} ({number} of {len(missing)}): this once, a few minutes ...")
            folder = next(program(name).parent for name, each in PROGRAMS.items() if each == module)
            scratch = folder.with_name(f"{folder.name}.building")
            try:
                _build(module, scratch, lock)
                shutil.rmtree(folder, ignore_errors=True)  # What a cleaner of caches has left of it.
                (scratch / "made").rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def _missing() -> list[str]:
    return sorted({module for name, module in PROGRAMS.items() if not is_built(name)})


def _build(module: str, scratch: Path, lock: int) -> None:
    source = shutil.copytree(deploy_folder() / "native" / module, scratch / module)
    (scratch / "made").mkdir()
    # Nothing but what go.sum knows is compiled.
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
    done = subprocess.run(  # noqa: S603 - our own words
        [*command, "-o", str(scratch / "made") + os.sep, *_ARGUMENTS.get(module, ["tool"])],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=[lock] if os.name == "posix" else (),  # Go may live on where we are killed: the next one waits for it.
    )
    if done.returncode:
        raise StackError(f"{module} cannot be built{_too_old(source)}:\n{done.stderr.strip()[-2000:]}")


def _too_old(source: Path) -> str:
    """What is to be said of a Go that may be the reason: a newer one gets itself the version that a module wants."""
    command = ["go", "version"]
    told = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)  # noqa: S603
    version, needed = _version(told.stdout), _needed()
    if version is None or version >= (_version(needed) or ()):
        return ""
    return f": Go is {'.'.join(map(str, version))} here, and {needed} or newer is needed (https://go.dev/dl)"


def _needed() -> str:
    """The oldest Go that all modules take."""
    texts = [(folder / "go.mod").read_text("utf-8") for folder in (deploy_folder() / "native").iterdir()]
    found = [each for text in texts for each in re.findall(r"^go (\S+)$", text, re.MULTILINE)]
    return max(found, key=lambda each: _version(each) or ())


def _version(text: str) -> tuple[int, ...] | None:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return None if found is None else tuple(int(part or 0) for part in found.groups())
