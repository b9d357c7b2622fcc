"""What is worth saying about a workflow: at most seven sentences, the most valuable first, none without a ground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..recording.times import duration
from ..runs.wording import for_what
from .many import StageOverRuns, WorkflowFigures
from .numbers import median
from .sharing import Gap
from .visits import RETRY
from .whatif import Replay, WhatIf

Confidence = Literal["low", "medium", "high"]
MOST = 7
"""Sentences about one workflow."""
MOST_REPLAYED = 20
"""Runs that are replayed for it, the last ones."""
_MEDIUM, _HIGH = 3, 10
"""From so many runs on."""
_SHARE = 0.1
"""The part of the time of a run from which on something is worth a sentence."""
_MAIN = 0.4
_MOST_OF_A_KIND = 2
"""Sentences, as long as there are others to say."""
_MOST_NAMED = 3
_ASKED = 3
_LONGEST_REASON = 60
"""Characters of what a stage waits for: the figures behind it are what the sentence is for."""


@dataclass(frozen=True)
class Insight:
    """One sentence, and what follows from it."""

    kind: str
    text: str
    advice: str
    stage: str | None
    seconds: float
    """What it is about, of a run on average: time that is lost, or could be saved."""
    share: float
    """The same as a part of a run, from 0 to 1: the order goes by it."""
    runs: int
    """How many runs it rests on."""

    @property
    def confidence(self) -> Confidence:
        """`low` below three runs, `high` from ten on."""
        return "low" if self.runs < _MEDIUM else "medium" if self.runs < _HIGH else "high"


@dataclass(frozen=True)
class Evidence:
    """What sentences are made of."""

    figures: WorkflowFigures
    replays: Sequence[Replay] = ()
    """Of runs that have ended, the last ones."""
    gaps: Sequence[Gap] = ()
    """Times of the last run in which nothing was open, the longest first."""

    @property
    def runs(self) -> int:
        """Runs that have ended."""
        return self.figures.seconds.count if self.figures.seconds else 0

    @property
    def wall(self) -> float:
        """Seconds that they took, all together."""
        return self.figures.seconds.total if self.figures.seconds else 0.0

    def say(self, kind: str, text: str, advice: str, stage: str | None, seconds: float) -> Insight:
        """A sentence about so many seconds of all runs together."""
        share = min(1.0, seconds / self.wall) if self.wall else 0.0
        of_stage = next((each.runs for each in self.figures.stages if each.stage == stage), self.runs)
        return Insight(kind, text, advice, stage, seconds / max(1, self.runs), share, min(self.runs, of_stage))

    def ask(self, question: Callable[[Replay], WhatIf]) -> tuple[WhatIf | None, float, float]:
        """The last answer, and the seconds and the part of a run that it saves in the middle of all answers."""
        answers = [question(replay) for replay in self.replays]
        good = [answer for answer in answers if answer.after is not None]
        if not good:
            return (answers[-1] if answers else None), 0.0, 0.0
        return good[-1], median(each.saves for each in good), median(each.share for each in good)


def insights_of(evidence: Evidence) -> tuple[Insight, ...]:
    """What is worth saying, the most valuable first; where nothing is, that."""
    found = [insight for kind in KINDS for insight in kind(evidence)]
    found.sort(key=_order)
    seen = Counter[str]()
    first: list[Insight] = []
    more: list[Insight] = []
    for each in found:
        (first if seen[each.kind] < _MOST_OF_A_KIND else more).append(each)
        seen[each.kind] += 1
    return tuple(sorted([*first, *more][:MOST], key=_order)) or (_healthy(evidence),)


def _order(insight: Insight) -> tuple[float, str, str]:
    return -insight.share, insight.kind, insight.stage or ""


def _healthy(evidence: Evidence) -> Insight:
    figures = evidence.figures
    if figures.seconds is None:
        said = "no run has ended yet", "look again when one has"
        if set(figures.results) == {"crashed"}:
            said = "no run has come to its end: what ran it is gone", "look at what was open then"
        return Insight("healthy", *said, None, 0.0, 0.0, figures.runs)
    usual = "it took" if evidence.runs == 1 else f"{evidence.runs} runs took, in the middle,"
    text = f"{usual} {duration(figures.seconds.p50)}, and nothing stands out"
    return evidence.say("healthy", text, "there is nothing to do", None, 0.0)


# --- the kinds --------------------------------------------------------------------------------------------------------


def _bottleneck(evidence: Evidence) -> Iterator[Insight]:
    """One stage is most of what runs wait for."""
    stages = [stage for stage in evidence.figures.stages if stage.critical_share is not None]
    if len(stages) < 2:
        return
    first, second = stages[:2]
    share, next_share = first.critical_share or 0.0, second.critical_share or 0.0
    if share < _MAIN or share < 1.5 * next_share:
        return
    of_run = (first.critical or 0.0) / evidence.runs
    answer, saves, part = evidence.ask(lambda replay: replay.faster(first.stage))
    text = f"{first.stage} takes {percent(share)} of the time that runs wait for ({duration(of_run)} of a run)"
    if answer is not None and answer.after is None:
        advice = f"begin there; what it would save is not known: {answer.refused}"
    elif answer is None or part < _SHARE / 2:
        advice = "begin there"
        if sum(first.waiting.values()) > (first.own or 0.0) / 2:
            advice = "begin with what it waits for, which is most of its own time"
    else:
        advice = f"begin there: {answer.what} saves {duration(saves)}, {percent(part)} of the run"
    yield evidence.say("bottleneck", text, advice, first.stage, first.critical or 0.0)


def _rework(evidence: Evidence) -> Iterator[Insight]:
    """Revisions take much of the time."""
    figures = evidence.figures
    if not evidence.wall or figures.rework < _SHARE * evidence.wall:
        return
    worst = max(figures.stages, key=lambda stage: stage.rework)
    text = (
        f"revisions take {duration(figures.rework / evidence.runs)} of a run "
        f"({percent(figures.rework / evidence.wall)}), most of it in {worst.stage}"
    )
    answer, saves, part = evidence.ask(Replay.one_revision_less)
    advice = "ask for more at the first visit, and check less often"
    if answer is not None and answer.after is not None:
        advice = (
            f"ask for more at the first visit: one revision less saves {duration(saves)}, {percent(part)} of the run"
        )
    yield evidence.say("rework", text, advice, worst.stage, figures.rework)


def _useless_revisions(evidence: Evidence) -> Iterator[Insight]:
    """From some revision on no run succeeds any more."""
    figures = evidence.figures
    last_good = max(
        (revision for revision, results in figures.results_by_revision.items() if results.get("success")), default=None
    )
    if last_good is None or last_good < 1:
        return
    beyond = {
        revision: sum(results.values())
        for revision, results in figures.results_by_revision.items()
        if revision > last_good
    }
    lost = sum(spent for revision, spent in figures.rework_by_revision.items() if revision > last_good)
    runs = sum(beyond.values())
    if runs >= _MEDIUM and lost:
        text = f"of {runs} runs that went beyond revision {last_good} none succeeded: {duration(lost)} for nothing"
        advice = f"end the loop after revision {last_good}: it gains nothing behind it"
        yield evidence.say("useless revisions", text, advice, None, lost)


def _items_one_by_one(evidence: Evidence) -> Iterator[Insight]:
    """Items come one after the other."""
    for stage in [each for each in evidence.figures.stages if _has_items(each)][:_ASKED]:
        answer, saves, part = evidence.ask(lambda replay, name=stage.stage: replay.more_in_parallel(name))
        if answer is None or answer.after is None or part < _SHARE:
            continue
        text = f"the items of {stage.stage} come one after the other"
        advice = (
            f"they are items of one batch, so work on them at once where none needs another: two at a time saves "
            f"{duration(saves)}, {percent(part)} of the run"
        )
        yield evidence.say("items one by one", text, advice, stage.stage, part * evidence.wall)
        return


def _has_items(stage: StageOverRuns) -> bool:
    return stage.runs > 0 and (
        stage.first_visits > stage.runs or sum(each.items for each in stage.platforms) > stage.runs
    )


def _waits(evidence: Evidence) -> Iterator[Insight]:
    """Stages wait more than they work, for each reason."""
    by_reason: dict[str, list[_Of]] = {}
    for stage in evidence.figures.stages:
        said = {reason: waited for reason, waited in stage.waiting.items() if reason != RETRY}
        waited = sum(said.values())
        if stage.own and waited > stage.own / 2 and waited >= _SHARE * evidence.wall:
            reason = max(said, key=lambda each: (said[each], each))
            by_reason.setdefault(for_what(reason, _LONGEST_REASON), []).append((waited, stage))
    for reason, found in by_reason.items():
        stages, waited, first = _together(found)
        took = f"{duration(waited / evidence.runs)} of"
        own = f"{duration(sum(stage.own or 0.0 for _, stage in found) / evidence.runs)} in a run"
        if len(found) == 1:
            text, advice = f"{stages} waits{reason} more than it works: {took} its {own}", f"a quicker {stages} gains"
        else:
            text, advice = f"{stages} wait{reason} more than they work: {took} their {own}", "quicker stages gain"
        yield evidence.say("waits", text, f"{advice} little: shorten that wait", first, waited)


def _retries(evidence: Evidence) -> Iterator[Insight]:
    """Failed attempts take much of the time."""
    found = [
        (stage.retry_seconds, stage)
        for stage in evidence.figures.stages
        if stage.retries and stage.retry_seconds >= _SHARE / 2 * evidence.wall > 0
    ]
    if found:
        stages, lost, first = _together(found)
        retries = sum(stage.retries for _, stage in found)
        number = "1 retry" if retries == 1 else f"{retries} retries"
        text = f"{number} of {stages} cost {duration(lost / evidence.runs)} of a run ({percent(lost / evidence.wall)})"
        yield evidence.say("retries", text, "find out why the first attempt fails, or give up sooner", first, lost)


def _outliers(evidence: Evidence) -> Iterator[Insight]:
    """A platform takes much longer than the others, in whatever stages."""
    by_platform: dict[str, list[_Of]] = {}
    times: dict[str, str] = {}
    for stage in evidence.figures.stages:
        usual = median(each.median for each in stage.platforms) if stage.platforms else 0.0
        for each in stage.platforms:
            if each.outlier:
                name = each.platform or "what has no platform"
                times[name] = f"{duration(each.median)} in {stage.stage}, the other platforms {duration(usual)}"
                lost = max(0.0, each.seconds - each.items * usual)
                by_platform.setdefault(name, []).append((lost, stage))
    for name, found in by_platform.items():
        stages, lost, first = _together(found)
        text = f"{name} takes {times[name]}"
        if len(found) > 1:
            text = (
                f"{name} takes longer than the other platforms in {stages}: "
                f"{duration(lost / max(1, evidence.runs))} more in a run"
            )
        yield evidence.say("outlier", text, "look at what is special about it", first, lost)


def _budgets(evidence: Evidence) -> Iterator[Insight]:
    """Budgets that no visit keeps."""
    found: list[_Of] = []
    text, advice = "", "set one that can be kept, or make it quicker"
    for stage in evidence.figures.stages:
        if stage.budget is None or stage.quickest is None or stage.budget_visits < _MEDIUM:
            continue
        if not stage.budget_kept and stage.quickest > stage.budget:
            text = (
                f"the budget of {stage.stage}, {duration(stage.budget)}, is out of reach: the quickest of "
                f"{stage.budget_visits} visits took {duration(stage.quickest)}"
            )
            found.append(((stage.quickest - stage.budget) * stage.budget_visits, stage))
    if found:
        stages, over, first = _together(found)
        if len(found) > 1:
            visits = sum(stage.budget_visits for _, stage in found)
            text = f"the budgets of {stages} are out of reach: none of {visits} visits kept them"
            advice = "set some that can be kept, or make the stages quicker"
        yield evidence.say("budget", text, advice, first, over)


def _gaps(evidence: Evidence) -> Iterator[Insight]:
    """Much of the time is in no stage."""
    gap = evidence.figures.gap
    if gap is None or not evidence.figures.stages or gap < 1.5 * _SHARE * evidence.wall or not gap:
        return
    text = f"in {duration(gap / evidence.runs)} of a run ({percent(gap / evidence.wall)}) no stage is open"
    if evidence.gaps:
        longest = evidence.gaps[0]
        place = {
            (True, True): "with no stage at all",
            (True, False): f"before {longest.before}",
            (False, True): f"after {longest.after}",
            (False, False): f"between {longest.after} and {longest.before}",
        }[longest.after is None, longest.before is None]
        text += f", the longest {place} ({duration(longest.seconds)})"
    yield evidence.say("gaps", text, "mark what is done there as a stage, to see what it is", None, gap)


def _slower(evidence: Evidence) -> Iterator[Insight]:
    """Runs take longer and longer."""
    whole = evidence.figures.seconds
    if whole is None or whole.count < 8 or whole.chance > 0.01 or whole.change < _SHARE * whole.p50:
        return
    stages = [stage for stage in evidence.figures.stages if stage.seconds.chance <= 0.01 and stage.seconds.change > 0]
    worst = max(stages, key=lambda stage: stage.seconds.change, default=None)
    chance = f"p = {max(whole.chance, 0.0001):.2g}"
    text = f"over {whole.count} runs the time of a run has grown by {duration(whole.change)} ({chance})"
    advice = "find out what has changed"
    if worst is not None:
        text += f", that of {worst.stage} by {duration(worst.seconds.change)}"
        advice += f" in {worst.stage}"
    yield evidence.say("slower", text, advice, worst.stage if worst else None, whole.change / 2 * whole.count)


def _failures(evidence: Evidence) -> Iterator[Insight]:
    """Visits fail, or are saved by a fallback only."""
    for kind, number_of, words, advice in (
        ("failures", _failed, "fail{s}", "find out why: a visit that fails takes time for nothing"),
        ("fallbacks", _saved, "end{s} with a fallback", "find out why: what that gives is a makeshift"),
    ):
        found = [
            (number_of(stage) / stage.visits * stage.seconds.total, stage)
            for stage in evidence.figures.stages
            if number_of(stage) >= max(1, _SHARE * stage.visits)
        ]
        if found:
            stages, lost, first = _together(found)
            number, visits = sum(number_of(stage) for _, stage in found), sum(stage.visits for _, stage in found)
            of = f"{visits} {'visit' if visits == 1 else 'visits'} of {stages}"
            yield evidence.say(kind, f"{number} of {of} {words.format(s='s' * (number == 1))}", advice, first, lost)


def _failed(stage: StageOverRuns) -> int:
    return stage.results.get("failure", 0)


def _saved(stage: StageOverRuns) -> int:
    return stage.fallbacks


def _dead_ends(evidence: Evidence) -> Iterator[Insight]:
    """A flow ends where it was not meant to."""
    found: list[_Of] = [(stage.dead_ends, stage) for stage in evidence.figures.stages if stage.dead_ends]
    if found:
        stages, number, first = _together(found)
        times = "once" if number == 1 else f"{number:.0f} times"
        text = f"{stages} gave an action that no edge takes {times}, and its flow ended there"
        if len(found) > 1:
            text = f"{stages} gave actions that no edge takes {times}, and their flows ended there"
        yield evidence.say("dead ends", text, "add the edge, or return another action", first, 0.0)


_Of = tuple[float, StageOverRuns]
"""How much of something a stage has."""


def _together(found: Iterable[_Of]) -> tuple[str, float, str]:
    """The names of stages, those first that have most of it; how much all have; and which has most."""
    ordered = sorted(found, key=lambda each: (-each[0], each[1].stage))
    names, more = [stage.stage for _, stage in ordered[:_MOST_NAMED]], len(ordered) - _MOST_NAMED
    *before, last = names if more <= 0 else [*names, f"{more} more"]
    said = f"{', '.join(before)} and {last}" if before else last
    return said, sum(much for much, _ in ordered), names[0]


KINDS: tuple[Callable[[Evidence], Iterable[Insight]], ...] = (
    _bottleneck,
    _rework,
    _useless_revisions,
    _items_one_by_one,
    _waits,
    _retries,
    _outliers,
    _budgets,
    _gaps,
    _slower,
    _failures,
    _dead_ends,
)


def percent(share: float) -> str:
    """A part as people read it."""
    return f"{share:.0%}" if share >= 0.01 or share <= 0 else "under 1%"
