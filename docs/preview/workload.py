"""Workflows to look at: three services with failures, retries, revisions, waiting, slow stages and dead ends.

python docs/preview/workload.py MINUTES [SERVICE]
"""

# pyright: reportMissingTypeArgument=false, reportUnusedExpression=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pocketflow import BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, configure, stage, workflow

PLATFORMS = ("bluesky", "instagram", "linkedin", "mastodon", "newsletter", "twitter")
TROUBLE = {"linkedin": 0.25, "instagram": 0.12}
"""How often a platform's model refuses; the others do so less often."""
Shared = dict[str, Any]


class RateLimitError(Exception):
    """The model takes no more for now."""


class SchemaError(Exception):
    """The data are not what they were."""


class Work:
    """What takes time, and what fails, at random; slower in the second half, so that there is something to see."""

    def __init__(self, minutes: float, seed: int) -> None:
        self.dice = random.Random(seed)
        self.begun, self.seconds = time.monotonic(), minutes * 60

    def takes(self, seconds: float, spread: float = 0.35) -> None:
        """Spend about that long."""
        time.sleep(min(60.0, self.dice.lognormvariate(0, spread) * seconds))

    def happens(self, chance: float) -> bool:
        """Whether it does this time."""
        return self.dice.random() < chance

    @property
    def slow(self) -> float:
        """1, and more in the second half."""
        return 2.5 if time.monotonic() > self.begun + self.seconds / 2 else 1.0

    def goes_on(self) -> bool:
        """Whether there is time for one more run."""
        return time.monotonic() < self.begun + self.seconds


def campaign(work: Work) -> None:
    """Posts for some platforms, edited until they comply, checked, approved and delivered."""

    @stage("content_generation", budget="10s")
    class Craft(BatchNode):
        def prep(self, shared: Shared) -> list[dict[str, str]]:
            return [{"platform": name} for name in shared["task_requirements"]["platforms"]]

        def exec(self, item: dict[str, str]) -> str:
            work.takes({"newsletter": 2.5}.get(item["platform"], 0.8))
            if work.happens(TROUBLE.get(item["platform"], 0.03)):
                raise RateLimitError(f"429 for {item['platform']}")
            return "text"

        def exec_fallback(self, item: dict[str, str], exc: Exception) -> str:
            if work.happens(0.3):
                raise exc
            return "template"

    class StyleEditor(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(0.9)

    class StyleCompliance(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(0.2)

        def post(self, shared: Shared, prep_res: object, exec_res: object) -> str | None:
            control = shared["quality_control"]
            if control["revision_count"] < 5 and work.happens(0.45):
                control["revision_count"] += 1
                return "revise"
            return None

    @stage("fact_check", budget="4s")
    class FactCheck(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(1.6 * work.slow, 0.5)
            if work.happens(0.15):
                raise TimeoutError("no answer")

    class Director(Node):
        def exec(self, prep_res: object) -> None:
            with stage("approval") as visit, visit.waiting("editor"):
                work.takes(2)

        def post(self, shared: Shared, prep_res: object, exec_res: object) -> str | None:
            return "escalate" if work.happens(0.06) else None

    class Deliver(Node):
        def exec(self, prep_res: object) -> None:
            with stage("publish") as visit:
                for name in PLATFORMS[:3]:
                    visit.platform(name)
                    work.takes(0.3)
                    visit.advance(1, total=3)

    craft, edit, comply = Craft(max_retries=3, wait=0.5), StyleEditor(), StyleCompliance()
    craft >> edit >> comply >> FactCheck(max_retries=2, wait=1) >> (director := Director()) >> Deliver()
    comply - "revise" >> edit
    director - "later" >> craft
    platforms = work.dice.sample(PLATFORMS, work.dice.randint(2, 6))
    shared = {"task_requirements": {"platforms": platforms}, "quality_control": {"revision_count": 0}}
    with workflow("pr_campaign", shared=shared):
        Flow(start=craft).run(shared)


def research(work: Work) -> None:
    """An agent's loop: plan, act, observe."""

    class Plan(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(0.6)

    class Act(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(1.2, 0.8)
            if work.happens(0.2):
                raise TimeoutError("no answer")

        def exec_fallback(self, prep_res: object, exc: Exception) -> str:
            return "without that tool"

    class Observe(Node):
        def post(self, shared: Shared, prep_res: object, exec_res: object) -> str | None:
            shared["turns"] = shared.get("turns", 0) + 1
            return None if shared["turns"] > 7 or work.happens(0.25) else "again"

    class Answer(Node):
        def exec(self, prep_res: object) -> None:
            work.takes(1.5)

    class ResearchAgent(Flow):
        pass

    plan, observe = Plan(), Observe()
    plan >> Act(max_retries=2, wait=0.3) >> observe >> Answer()
    observe - "again" >> plan
    ResearchAgent(plan).run({})


def warehouse(work: Work) -> None:
    """Data from one place to another."""
    with workflow("nightly_etl"):
        with stage("extract"):
            work.takes(2)
        with stage("transform", budget="6s"):
            work.takes(3 * work.slow)
            if work.happens(0.08):
                raise SchemaError("price is text")
        with stage("load"):
            work.takes(12, 0.6)


SERVICES: dict[str, tuple[Callable[[Work], None], int]] = {
    "content-studio": (campaign, 4),
    "research": (research, 3),
    "warehouse": (warehouse, 2),
}
"""What each runs, and how many at once."""


def serve(service: str, minutes: float) -> None:
    """Run a service's workflow again and again."""
    configure(service_name=service)
    PocketFlowInstrumentor().instrument()
    run, at_once = SERVICES[service]

    def again(seed: int) -> None:
        work = Work(minutes, seed)
        while work.goes_on():
            with contextlib.suppress(RateLimitError, SchemaError, TimeoutError):  # They are recorded.
                run(work)
            work.takes(2)

    threads = [threading.Thread(target=again, args=(seed,)) for seed in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(minutes: str, *services: str) -> None:
    """Be one service, or start a process for each."""
    if services:
        serve(services[0], float(minutes))
        return
    processes = [subprocess.Popen([sys.executable, __file__, minutes, service]) for service in SERVICES]
    for process in processes:
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
