"""Make `examples/recorded`: twelve PR campaigns with one language model, and twelve after a change to a quicker one.

    python examples/record_campaigns.py        # some four minutes

The campaigns and their records are real. The models are not: they sleep as long as a model writes, and then give what
the templates of `pr_campaign` give, with more or fewer clichés. Sometimes one is busy, and has to be asked again.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pr_campaign

HERE = Path(__file__).parent
RUNS = 12
BUSY = 0.03
"""The share of drafts that a model refuses."""


class Model(NamedTuple):
    """How a model writes."""

    seconds: float
    """For a piece; half of them take longer."""
    plain: float
    """The share of drafts without clichés."""


MODELS = {"1.3.0": Model(0.45, 0.9), "1.4.0": Model(0.26, 0.3)}
"""By the version of the campaign."""


def campaign(version: str, seed: str) -> int:
    """Run one."""
    model, chance = MODELS[version], random.Random(seed)
    draft, mended, corrected = pr_campaign.draft, pr_campaign.mended, pr_campaign.corrected

    def writes(text: Callable[..., str], share: float) -> Callable[..., str]:
        def slowly(*given: Any, **named: Any) -> str:
            time.sleep(share * model.seconds * math.exp(chance.gauss(0, 0.15)))
            return text(*given, **named)

        return slowly

    def drafts(brief: pr_campaign.Brief, platform: str) -> str:
        if chance.random() < BUSY:
            raise pr_campaign.LLMError("the model is busy")
        text = draft(brief, platform)
        if chance.random() < model.plain:
            text = mended(text, "phrase", platform, brief)
        return text

    pr_campaign.draft, pr_campaign.mended = writes(drafts, 1), writes(mended, 0.4)
    pr_campaign.corrected = writes(corrected, 0.3)
    return pr_campaign.main(["--out", os.devnull])


def record(version: str, seed: str, folder: Path) -> None:
    """Run one in a process of its own, recorded in a folder."""
    own = {"OTEL_RESOURCE_ATTRIBUTES": f"service.version={version}", "OTEL_PROGRESS_DETAIL": "items"}
    run = [sys.executable, "-m", "otel_progress", "run", "--quiet", "--service-name", "content-studio"]
    command = [*run, __file__, version, seed]
    subprocess.run(command, env={**os.environ, **own}, stdout=subprocess.DEVNULL, cwd=folder, check=True)


def main() -> None:
    """Record them, in turn, and keep the spans: readers need no more of what has ended."""
    kept = HERE / "recorded" / "runs"
    with tempfile.TemporaryDirectory() as made:
        for number in range(RUNS):
            for version in MODELS:
                print(f"\r{number + 1}/{RUNS} {version}", end="", file=sys.stderr, flush=True)
                record(version, f"{version} {number}", Path(made))
        shutil.rmtree(kept, ignore_errors=True)
        for each in sorted((Path(made) / ".otel-progress" / "runs").iterdir()):
            (kept / each.name).mkdir(parents=True)
            told = (each / "spans.jsonl").read_text("utf-8")
            for place, name in {HERE.parent: "otel_progress", sys.prefix: ".venv", sys.base_prefix: "python"}.items():
                told = told.replace(str(place), f"/home/you/{name}")
            (kept / each.name / "spans.jsonl").write_text(told, "utf-8")
    print(file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(campaign(*sys.argv[1:]))
    main()
