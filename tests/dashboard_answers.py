"""What each query of each dashboard should answer, computed from what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otel_progress import names

from .dashboard_facts import BY_STAGE, BY_WORKFLOW, ERROR, PLATFORM, REASON, RESULT, REVISION, VISIT, Fact, Facts, View
from .servers import Labels
from .test_stack import STAGE, WORKFLOW, true_quantile

Answer = dict[frozenset[tuple[str, str]], float]
"""Values by labels."""
Select = Callable[[Facts], list[Fact]]
Expectation = Callable[[Facts], Answer]


def key(labels: Labels) -> frozenset[tuple[str, str]]:
    """Labels as Prometheus has them: an empty one is none. The bound of a bucket may be written `1` or `1.0`."""
    return frozenset(
        (name, str(float(value)) if name == "le" else value)
        for name, value in labels.items()
        if value and name != "__name__"
    )


def grouped(facts: Iterable[Fact], by: tuple[str, ...]) -> dict[frozenset[tuple[str, str]], list[float]]:
    """The values of the facts of each group."""
    groups: dict[frozenset[tuple[str, str]], list[float]] = {}
    for fact in facts:
        groups.setdefault(key({name: fact.labels[name] for name in by}), []).append(fact.value)
    return groups


def each(measure: Callable[[list[float]], float], select: Select, *by: str) -> Expectation:
    """A measure of each group of what is selected."""
    return lambda facts: {group: measure(values) for group, values in grouped(select(facts), by).items()}


def count(select: Select, *by: str) -> Expectation:
    return each(len, select, *by)


def amount(select: Select, *by: str) -> Expectation:
    return each(sum, select, *by)


def mean(select: Select, *by: str) -> Expectation:
    return each(lambda values: sum(values) / len(values), select, *by)


def quantile(q: float, select: Select, *by: str) -> Expectation:
    return each(lambda values: true_quantile(values, q), select, *by)


def within(part: Expectation, whole: Expectation) -> Expectation:
    """The part of each group of the whole, 0 where it has none."""
    return lambda facts: {group: part(facts).get(group, 0) for group in whole(facts)}


def share(part: Expectation, whole: Expectation) -> Expectation:
    """The same as a share of the whole."""
    return lambda facts: {group: part(facts).get(group, 0) / value for group, value in whole(facts).items()}


def every(name: str) -> Select:
    """All facts of a kind."""
    return lambda facts: getattr(facts, name)


def only(select: Select, label: str, *values: str) -> Select:
    """Those with one of these values."""
    return lambda facts: [fact for fact in select(facts) if fact.labels[label] in values]


def below(bounds: Iterable[float], select: Select) -> Expectation:
    """The buckets of a histogram: how many are not above each bound."""

    def buckets(facts: Facts) -> Answer:
        values = [fact.value for fact in select(facts)]
        if not values:
            return {}
        return {key({"le": str(bound)}): sum(value <= bound for value in values) for bound in (*bounds, float("inf"))}

    return buckets


def highest_bound(values: list[float]) -> float:
    """The bound of the bucket of the highest number of revisions."""
    return next((bound for bound in names.COUNT_BUCKETS if bound >= max(values)), names.COUNT_BUCKETS[-1])


def no_past(facts: Facts) -> Answer:
    """Nothing: the past, seven days that ended an hour ago, is empty here; the rules have tests of their own."""
    return {}


def with_platform(facts: Facts) -> list[Fact]:
    """The items that name a platform."""
    return [fact for fact in facts.items if fact.labels[PLATFORM]]


def stage_of(group: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The stage of a group by platform and stage."""
    return frozenset((name, value) for name, value in group if name != PLATFORM)


def unrevised(facts: Facts) -> list[Fact]:
    """The revisions of the runs that had none."""
    return [fact for fact in facts.revisions if fact.value == 0]


def most_time(most: int) -> Expectation:
    """The stages with the most time."""
    by_stage = amount(VISITS, *BY_STAGE)
    return lambda facts: dict(sorted(by_stage(facts).items(), key=lambda item: -item[1])[:most])


def other_time(most: int) -> Expectation:
    """The time of all others."""
    by_stage, biggest = amount(VISITS, *BY_STAGE), most_time(most)

    def others(facts: Facts) -> Answer:
        rest = [value for group, value in by_stage(facts).items() if group not in biggest(facts)]
        return {frozenset(): sum(rest)} if rest else {}

    return others


def alerts(facts: Facts) -> Answer:
    """The alert that fires without a delay: each stage at which a flow came to a dead end."""
    dead_ends = count(DEAD_ENDS, *BY_STAGE)(facts)
    return {group | {("alertname", "DeadEnds"), ("severity", "warning")}: 1 for group in dead_ends}


def completed_within_budget(facts: Facts) -> Answer:
    """The budgets of the stages that completed visits in the hour."""
    completed = count(only(VISITS, RESULT, "success", "fallback"), *BY_STAGE)(facts)
    return {group: budget for group, budget in each(max, BUDGETS, *BY_STAGE)(facts).items() if group in completed}


def over_budget(facts: Facts) -> Answer:
    """How many of these visits took longer: none, as every budget here is minutes."""
    assert all(visit.value < budget.value for visit in facts.visits for budget in facts.budgets)
    return dict.fromkeys(completed_within_budget(facts), 0)


def budgets_of_open(facts: Facts) -> Answer:
    """The budgets of the stages that are going on."""
    going_on = grouped(facts.open, BY_STAGE)
    return {group: values[0] for group, values in grouped(facts.budgets, BY_STAGE).items() if group in going_on}


def age(*by: str) -> Expectation:
    """How long ago the oldest open visit began."""
    return lambda facts: each(lambda starts: facts.at - min(starts), OPEN, *by)(facts)


def at_least(*by: str) -> Expectation:
    """For how long it went on for sure: programs report every 60 seconds, scrapes take 5, rules 15."""
    return lambda facts: {group: max(0, value - 80) for group, value in age(*by)(facts).items()}


def budget_of_one(facts: Facts) -> Answer:
    """The budget, where there is only one stage."""
    stages = grouped([*facts.visits, *facts.budgets], BY_STAGE)
    return each(max, BUDGETS)(facts) if len(stages) < 2 else {}


def of_budget(facts: Facts) -> Answer:
    """How much of its budget the oldest open visit of each stage has taken."""
    ages = at_least(*BY_STAGE)(facts)
    return {group: ages[group] / budget for group, budget in budgets_of_open(facts).items()}


def oldest(facts: Facts) -> Answer:
    """The oldest of all."""
    ages = age(*BY_STAGE)(facts)
    return {group: max(0, value - 80) for group, value in ages.items() if value == max(ages.values())}


VISITS, RUNS, REVISIONS, RETRIES, WAITS, DEAD_ENDS, OPEN, BUDGETS, PLATFORMS = map(
    every, ("visits", "runs", "revisions", "retries", "waits", "dead_ends", "open", "budgets", "platforms")
)
BETWEEN = only(WAITS, REASON, names.WAIT_RETRY)
NOT_COMPLETED = ("failure", "cancelled", "abandoned")
FIRST, REPEATS = only(VISITS, VISIT, "first"), only(VISITS, VISIT, "repeat")
REVISED = only(REPEATS, REVISION, "1", "2", "3", "4+")
CLEAN, FALLBACKS = only(FIRST, RESULT, "success"), only(VISITS, RESULT, "fallback")
LOST, FAILED = only(VISITS, RESULT, *NOT_COMPLETED), only(VISITS, RESULT, "failure")
FAILED_RUNS, GOOD_RUNS = only(RUNS, RESULT, *NOT_COMPLETED), only(RUNS, RESULT, "success")
ALL_ERRORS = count(lambda facts: [*FAILED(facts), *RETRIES(facts)], *BY_STAGE, ERROR)


def rows(uid: str, panels: dict[str, Expectation | list[Expectation]]) -> dict[tuple[str, str, str], Expectation]:
    """The rows of a dashboard: for each panel what is expected of its only query, or of its queries A, B, C."""
    return {
        (f"otel-progress-{uid}", title, ref): expectation
        for title, expected in panels.items()
        for ref, expectation in zip("ABCDEFGH", expected if isinstance(expected, list) else [expected], strict=False)
    }


EXPECTED: dict[tuple[str, str, str], Expectation] = {
    **rows(
        "overview",
        {
            "Running now": lambda facts: {frozenset(): len(facts.open_runs)},
            "Finished": count(RUNS),
            "Failed": within(count(FAILED_RUNS), count(RUNS)),
            "Alerts": lambda facts: {frozenset(): len(alerts(facts))} if alerts(facts) else {},
            "Most time": most_time(5),
            "Alerts that fire": alerts,
            "Slower than usual": [no_past, no_past, no_past, no_past],
            "Success ratio": share(count(GOOD_RUNS), count(RUNS)),
            "Oldest running stage": oldest,
            "Running stages": [
                age(*BY_STAGE),
                at_least(*BY_STAGE),
                count(OPEN, *BY_STAGE),
                budgets_of_open,
                of_budget,
                no_past,
                no_past,
            ],
            "Runs by result": count(RUNS, RESULT),
            "Run duration, p95": quantile(0.95, RUNS, *BY_WORKFLOW),
            "Workflows": [
                count(RUNS, *BY_WORKFLOW),
                within(count(FAILED_RUNS, *BY_WORKFLOW), count(RUNS, *BY_WORKFLOW)),
                share(count(GOOD_RUNS, *BY_WORKFLOW), count(RUNS, *BY_WORKFLOW)),
                quantile(0.5, RUNS, *BY_WORKFLOW),
                quantile(0.95, RUNS, *BY_WORKFLOW),
                amount(RUNS, *BY_WORKFLOW),
                mean(REVISIONS, *BY_WORKFLOW),
            ],
            "Platforms processed": amount(
                lambda facts: [each for each in PLATFORMS(facts) if each.value], *BY_WORKFLOW
            ),
            "Items by platform": count(with_platform, PLATFORM),
            "Revisions per run": mean(REVISIONS, *BY_WORKFLOW),
        },
    ),
    **rows(
        "bottlenecks",
        {
            "Share of time by stage": [most_time(8), other_time(8)],
            "Most time": most_time(8),
            "Stages": [
                amount(VISITS, *BY_STAGE),
                lambda facts: {
                    group: value / sum(amount(VISITS)(facts).values())
                    for group, value in amount(VISITS, *BY_STAGE)(facts).items()
                },
                count(VISITS, *BY_STAGE),
                quantile(0.5, VISITS, *BY_STAGE),
                quantile(0.95, VISITS, *BY_STAGE),
                quantile(1, VISITS, *BY_STAGE),
            ],
            "Slower than usual": [no_past, no_past, no_past, no_past],
            "p95 of the hour against the week": no_past,
            "Over budget": [over_budget, completed_within_budget],
            "Waiting by reason": amount(WAITS, *BY_STAGE, REASON),
            "Retries": count(RETRIES, *BY_STAGE),
            "Cost of retries": [
                within(amount(BETWEEN, *BY_STAGE), count(RETRIES, *BY_STAGE)),
                lambda facts: {
                    group: amount(BETWEEN, *BY_STAGE)(facts).get(group, 0) / amount(VISITS, *BY_STAGE)(facts)[group]
                    for group in count(RETRIES, *BY_STAGE)(facts)
                },
                count(RETRIES, *BY_STAGE),
            ],
            "Share of time in repeats": share(amount(REPEATS, *BY_WORKFLOW), amount(VISITS, *BY_WORKFLOW)),
            "Repeats by stage": [
                within(amount(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                share(amount(REPEATS, *BY_STAGE), amount(VISITS, *BY_STAGE)),
                within(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                share(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
            ],
            "Time by platform": [
                amount(with_platform, PLATFORM, *BY_STAGE),
                lambda facts: {
                    group: value / amount(with_platform, *BY_STAGE)(facts)[stage_of(group)]
                    for group, value in amount(with_platform, PLATFORM, *BY_STAGE)(facts).items()
                },
                count(with_platform, PLATFORM, *BY_STAGE),
                quantile(0.5, with_platform, PLATFORM, *BY_STAGE),
                quantile(0.95, with_platform, PLATFORM, *BY_STAGE),
            ],
            "Items by platform and stage": count(with_platform, PLATFORM, STAGE),
            "Failed items by platform and stage": share(
                count(only(with_platform, RESULT, "failure"), PLATFORM, STAGE), count(with_platform, PLATFORM, STAGE)
            ),
        },
    ),
    **rows(
        "stage",
        {
            "Visits": count(VISITS),
            "Incomplete": share(count(LOST), count(VISITS)),
            "p50": quantile(0.5, VISITS),
            "p95": quantile(0.95, VISITS),
            "Budget": budget_of_one,
            "Repeats": share(count(REPEATS), count(VISITS)),
            "Running now": lambda facts: {frozenset(): len(facts.open)},
            "Running for": at_least(),
            "Distribution of durations": below(names.DURATION_BUCKETS, VISITS),
            "p50 and p95": [
                quantile(0.5, VISITS),
                quantile(0.95, VISITS),
                no_past,
                budget_of_one,
            ],
            "p95 by stage": quantile(0.95, VISITS, *BY_STAGE),
            "p50 of first visits and repeats": quantile(0.5, VISITS, VISIT),
            "p95 by platform": quantile(0.95, with_platform, PLATFORM),
            "Visits by result": count(VISITS, RESULT),
            "Attempts per visit": lambda facts: {
                group: 1 + value for group, value in share(count(RETRIES), count(VISITS))(facts).items()
            },
            "Retries by error": count(RETRIES, ERROR),
            "Failed visits by error": count(FAILED, ERROR),
            "Errors by type": [
                within(count(FAILED, *BY_STAGE, ERROR), ALL_ERRORS),
                within(count(RETRIES, *BY_STAGE, ERROR), ALL_ERRORS),
            ],
        },
    ),
    **rows(
        "quality",
        {
            "First-pass yield": share(count(unrevised), count(REVISIONS)),
            "Revisions per run": mean(REVISIONS),
            "Clean first visits": share(count(CLEAN), count(FIRST)),
            "Time in revisions": share(amount(REVISED), amount(VISITS)),
            "Fallbacks": share(count(FALLBACKS), count(VISITS)),
            "Dead ends": within(count(DEAD_ENDS), count(VISITS)),
            "Time by revision": amount(REVISED, REVISION),
            "Time in revisions by stage": [
                amount(REVISED, *BY_STAGE),
                lambda facts: {
                    group: value / amount(VISITS, *BY_STAGE)(facts)[group]
                    for group, value in amount(REVISED, *BY_STAGE)(facts).items()
                },
                *(amount(only(REPEATS, REVISION, each), *BY_STAGE) for each in ("1", "2", "3", "4+")),
            ],
            "Share of time in revisions": share(amount(REVISED, *BY_WORKFLOW), amount(VISITS, *BY_WORKFLOW)),
            "First-pass yield over time": share(count(unrevised, *BY_WORKFLOW), count(REVISIONS, *BY_WORKFLOW)),
            "Revisions per run over time": mean(REVISIONS, *BY_WORKFLOW),
            "Runs by revisions": below(names.COUNT_BUCKETS, REVISIONS),
            "Revisions by workflow": [
                mean(REVISIONS, *BY_WORKFLOW),
                share(count(unrevised, *BY_WORKFLOW), count(REVISIONS, *BY_WORKFLOW)),
                each(highest_bound, REVISIONS, *BY_WORKFLOW),
                count(REVISIONS, *BY_WORKFLOW),
            ],
            "Visits by result": count(VISITS, RESULT),
            "Fallbacks by stage": count(FALLBACKS, *BY_STAGE),
            "Dead ends by stage": count(DEAD_ENDS, *BY_STAGE),
            "Quality by stage": [
                share(count(CLEAN, *BY_STAGE), count(FIRST, *BY_STAGE)),
                count(VISITS, *BY_STAGE),
                within(count(FALLBACKS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(LOST, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(REPEATS, *BY_STAGE), count(VISITS, *BY_STAGE)),
                within(count(DEAD_ENDS, *BY_STAGE), count(VISITS, *BY_STAGE)),
            ],
        },
    ),
    **rows(
        "run",
        {
            "Run duration": [quantile(0.5, RUNS), quantile(0.95, RUNS)],
            "Usual time of each stage": quantile(0.5, VISITS, *BY_STAGE),
        },
    ),
}
CHOICES = {
    "job": ("job", View()),
    "workflow": (WORKFLOW, View(job="mixed")),
    "stage": (STAGE, View(job="mixed", workflow="loop|open")),
    "platform": (PLATFORM, View(job="mixed", stage="Publish")),
    "run_job": ("job", View(workflow="loop")),
    "run_workflow": (WORKFLOW, View(workflow="loop|open")),
}
"""For each variable its label, and what has to be chosen before it."""
