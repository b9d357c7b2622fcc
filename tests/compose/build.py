"""Docker Compose for the tests of the containers, built by Go from pinned modules: Debian's is too old.

It needs nothing but the package: `python -m tests.compose.build`.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from otel_progress.stack import build

HERE = Path(__file__).parent


def program() -> Path:
    """Where Compose is, once it is built."""
    digest = hashlib.sha256()
    for file in sorted(HERE.glob("go.*")):
        digest.update(file.read_bytes())
    return build.cache() / f"compose-{digest.hexdigest()[:12]}" / "docker-compose"


def main() -> None:
    """Build it: two minutes, when nothing is in Go's cache."""
    if program().exists():
        return
    made = program().with_suffix(".new")
    made.parent.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
    subprocess.run([*command, "-o", str(made), "tool"], cwd=HERE, check=True)
    made.rename(program())


if __name__ == "__main__":
    main()
