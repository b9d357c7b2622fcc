"""A Docker engine of the tests' own, with images of the names in compose.yaml made from the natively built servers.

No registry is asked. The engine has a network, mounts and a data folder of its own, in namespaces: its containers
publish the usual ports on a loopback that nobody else has, and when it ends nothing of it is left.
`python -m tests.compose.build` builds Compose.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_progress.stack import build

from .compose.build import program as compose
from .servers import all_built, until

REQUIRED = "REQUIRE_CONTAINERS"
"""Set where an engine has to be there: then a test that lacks one fails."""
ROOT = Path(__file__).parents[1]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]

# As the official images are: where the program is, as whom it runs, and where.
OFFICIAL = {
    "collector": ("otelcol-contrib", "10001", "/"),
    "jaeger": ("cmd/jaeger/jaeger-linux", "10001", "/"),
    "prometheus": ("bin/prometheus", "nobody", "/prometheus"),
    "alertmanager": ("bin/alertmanager", "nobody", "/alertmanager"),
}
WITHOUT_SHELL = {"collector"}

_CGROUP = "otel-progress-tests"
_PROGRAMS = ("dockerd", "docker", "unshare", "nsenter", "setpriv", "ip", "iptables")

_NAMESPACES = """
ip link set lo up
mount -t tmpfs none /run
folder=$1; shift
mkdir "$folder/etc" "$folder/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$folder/etc,workdir=$folder/work" none /etc
exec setpriv --pdeathsig TERM dockerd "$@"
"""


def why_not() -> str | None:
    """Why no engine can be started here, if that is so."""
    if os.geteuid() != 0:
        return "a Docker engine is started by root only"
    missing = [name for name in _PROGRAMS if not shutil.which(name)]
    if not Path("/bin/busybox").exists():
        missing.append("a static busybox")
    if missing:
        return f"there is no {', '.join(missing)} (Debian has docker.io, busybox-static and iproute2)"
    if (
        not os.path.ismount("/sys/fs/cgroup")
        or subprocess.run(["unshare", "--net", "--mount", "true"], check=False).returncode
    ):
        return "this machine lets nobody make namespaces, or has no control groups: it is a container, perhaps"
    return None if compose().exists() else "Compose is not built: `python -m tests.compose.build` does it"


@dataclass
class Engine:
    """A Docker engine with the stack's images."""

    folder: Path
    pid: int

    def docker(self, *words: str, check: bool = True) -> str:
        """What `docker` answers."""
        return self.inside("docker", *words, check=check).stdout

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose` with the file as it is. Grafana's image cannot be made, so services are named."""
        file = str(ROOT / "deploy" / "compose.yaml")
        return self.inside(str(compose()), "-f", file, *words, check=check)

    def up(self) -> None:
        """Start all but Grafana, and wait until they are healthy."""
        self.compose("up", "-d", "--wait", *OFFICIAL)

    def inside(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the engine's loopback is."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-n", "--", *command],
            env={**os.environ, "DOCKER_HOST": f"unix://{self.folder}/docker.sock", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stdout}\n{done.stderr}")
        return done

    def get(self, url: str) -> Any:
        """The JSON that `url` answers with there; None where nothing answers."""
        code = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"
        done = self.inside(sys.executable, "-c", code, url, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def state(self, service: str) -> dict[str, Any]:
        """What Docker knows of the container of a service."""
        return json.loads(self.docker("inspect", f"otel-progress-{service}-1"))[0]

    def make_image(self, service: str, *changes: str) -> None:
        """Make the image of a service, under the name that compose.yaml has for it."""
        program, user, home = OFFICIAL[service]
        root = self.folder / "images" / service
        shutil.rmtree(root, ignore_errors=True)
        for each in ("etc", "tmp", home[1:]):
            (root / each).mkdir(parents=True, exist_ok=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text("root:x:0:0::/:\nnobody:x:65534:65534::/:\n")
        (root / "etc" / "group").write_text("root:x:0:\nnobody:x:65534:\n")
        native = build.program(service)
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(native, root / program)
        linked = subprocess.run(["ldd", native], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", linked):
            (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library[1:])
        if service not in WITHOUT_SHELL:
            (root / "bin").mkdir(exist_ok=True)
            shutil.copy("/bin/busybox", root / "bin" / "busybox")
            for name in ("sh", "wget"):
                (root / "bin" / name).symlink_to("busybox")
        if home != "/":
            os.chown(root / home[1:], 65534, 65534)
            changes = (f"VOLUME {home}", *changes)
        self._import(
            root, SERVICES[service]["image"], f'ENTRYPOINT ["/{program}"]', f"USER {user}", f"WORKDIR {home}", *changes
        )

    def make_busybox(self) -> None:
        """Make the image that sets the owners of volumes."""
        root = self.folder / "images" / "busybox"
        (root / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin" / "busybox")
        for name in ("sh", "chown"):
            (root / "bin" / name).symlink_to("busybox")
        self._import(root, SERVICES["volumes"]["image"])

    def _import(self, root: Path, name: str, *changes: str) -> None:
        archive = root.with_suffix(".tar")
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        self.docker("import", *[word for each in changes for word in ("--change", each)], str(archive), name)
        archive.unlink()


@contextlib.contextmanager
def engine(folder: Path) -> Generator[Engine]:
    """An engine with the images; skips where there can be none."""
    all_built()
    if (reason := why_not()) is not None:
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    options = [
        f"--cgroup-parent=/{_CGROUP}",
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
    ]
    command = [
        "unshare",
        "--net",
        "--mount",
        "sh",
        "-eu",
        "-c",
        _NAMESPACES,
        "sh",
        str(folder),
        *options,
        f"--pidfile={folder}/pid",
    ]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    made = Engine(folder, process.pid)
    try:
        until(lambda: process.poll() is not None or made.inside("docker", "info", check=False).returncode == 0)
        assert process.poll() is None, (folder / "dockerd.log").read_text()[-2000:]
        for service in OFFICIAL:
            made.make_image(service)
        made.make_busybox()
        yield made
        made.compose("down", "-v", "--timeout", "1", check=False)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
        for each in Path("/sys/fs/cgroup").glob(f"**/{_CGROUP}"):
            each.rmdir()
