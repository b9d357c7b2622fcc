"""A PocketFlow program that knows nothing of otel_progress. Its stages are recorded all the same.

otel-progress run examples/plain_flow.py
opentelemetry-instrument python examples/plain_flow.py  # After `pip install opentelemetry-distro`.
"""

# pyright: reportMissingTypeArgument=false, reportUnusedExpression=false, reportUntypedBaseClass=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from pocketflow import BatchFlow, BatchNode, Flow, Node

Shared = dict[str, Any]


class ReadFolder(Node):
    """Finds the files: this folder's."""

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> None:
        shared["files"] = sorted(Path(__file__).parent.glob("*.py"))


class Compress(BatchNode):
    """Compresses each file, fast or small as the flow asks for."""

    def prep(self, shared: Shared) -> list[Path]:
        return shared["files"]

    def exec(self, prep_res: Path) -> int:
        return len(zlib.compress(prep_res.read_bytes(), 1 if self.params["platform"] == "fast" else 9))

    def post(self, shared: Shared, prep_res: list[Path], exec_res: list[int]) -> None:
        shared.setdefault("sizes", {})[self.params["platform"]] = sum(exec_res)


class EachLevel(BatchFlow):
    """Once for fast and once for small."""

    def prep(self, shared: Shared) -> list[Shared]:
        return [{"platform": "fast"}, {"platform": "small"}]


class Report(Node):
    """Says which is smaller; its first try is too early."""

    def prep(self, shared: Shared) -> dict[str, int]:
        return shared["sizes"]

    def exec(self, prep_res: dict[str, int]) -> str:
        if self.cur_retry == 0:
            raise TimeoutError("not settled yet")
        return min(prep_res, key=lambda name: prep_res[name])

    def post(self, shared: Shared, prep_res: dict[str, int], exec_res: str) -> str:
        print(f"{exec_res}: {shared['sizes'][exec_res]} bytes")
        return "done"


class Archive(Flow):
    """The whole program."""


def main() -> None:
    """Run it."""
    read = ReadFolder()
    read >> EachLevel(Compress()) >> Report(max_retries=2)
    Archive(read).run({})


if __name__ == "__main__":
    main()
