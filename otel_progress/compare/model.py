"""What a comparison finds: plain, frozen objects. Durations are seconds; a change is a part of the base: 0.1 is 10%."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["faster", "slower", "same", "too few"]
"""`faster` and `slower`: significant, and by at least the smallest effect that matters. `same`: shown to differ by less
than that. `too few`: neither is shown, and more runs would show one of them."""
Kind = Literal["new", "vanished", "renamed", "visits", "revisions", "retries", "failures"]
Order = Literal["in turn", "one after the other", "mixed"]
"""How the runs of the two sides began: base and new by turns; all of one side before the other; anything else."""
VERSION = 1
"""Of the JSON."""


@dataclass(frozen=True)
class Side:
    """The runs of one side."""

    runs: int
    """That were given."""
    compared: int
    """That ended well: their times are compared."""
    failed: int
    """That failed or crashed."""
    left_out: int
    """That go on, were cancelled, or tell no end."""
    cancelled: int
    """Those of them that were cancelled: they have an end, which says nothing of how long one takes."""


@dataclass(frozen=True)
class Row:
    """How long something took: the run itself, a stage for each visit, or a platform of a stage."""

    workflow: str
    stage: str | None
    """None: the run itself."""
    platform: str | None
    renamed_from: str | None
    """The name of the stage in the base, where it has another."""
    base_runs: int
    new_runs: int
    base_seconds: float
    """Median over the runs."""
    new_seconds: float
    base_spread: float
    """How much the runs of a side differ: as a standard deviation, as a part of the median, not moved by outliers."""
    new_spread: float
    change: float
    """The estimate of Hodges and Lehmann: the median of the ratios between the runs of the sides, less 1."""
    low: float | None
    """The interval that the verdict rests on; None where so few runs set no bound."""
    high: float | None
    confidence: float
    """Of this interval."""
    p_different: float
    """Two-sided, of this row alone, for what is corrected see `level`."""
    p_same: float
    """Of the test that the sides differ by the smallest effect or more, of this row alone."""
    level: float
    """What `p_different` must not exceed for `slower` and `faster`, after the correction for many rows."""
    paired: bool
    """Whether neighbouring runs of the sides were compared with each other."""
    inflation: float
    """By how much the variance is taken to be larger, because runs resemble those before them."""
    verdict: Verdict
    more: int | None
    """With `too few`: about how many more runs of each side would do, with a chance of four in five."""


@dataclass(frozen=True)
class Change:
    """Something that is not a duration."""

    workflow: str
    kind: Kind
    stage: str | None
    """None: the run itself. With `renamed` the new name."""
    renamed_from: str | None
    base: float
    """For each run on average; of `new`, `vanished` and `failures` the part of the runs."""
    new: float
    base_runs: int
    new_runs: int
    p: float
    """Of Fisher's exact test, of this change alone."""
    certain: bool
    """Whether chance is ruled out, after the correction for all that was counted."""


@dataclass(frozen=True)
class WorkflowComparison:
    """Two sides of one workflow."""

    workflow: str
    renamed_from: str | None
    """The name of the workflow in the base, where it has another."""
    base: Side
    new: Side
    order: Order
    rows: tuple[Row, ...]
    """The run first, then its stages in their order, each followed by its platforms."""
    changes: tuple[Change, ...]

    @property
    def alarms(self) -> tuple[Row | Change, ...]:
        """All that is said to have changed."""
        rows = tuple(row for row in self.rows if row.verdict in ("slower", "faster"))
        return rows + tuple(change for change in self.changes if change.certain)


@dataclass(frozen=True)
class Comparison:
    """Two sides, for each workflow that both have."""

    smallest: float
    """The smallest change that matters."""
    error: float
    """How likely it is that the same code raises any alarm, over everything that is compared."""
    workflows: tuple[WorkflowComparison, ...]
    only_base: tuple[str, ...]
    """Workflows that only the base has."""
    only_new: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all workflows."""
        return tuple(row for each in self.workflows for row in each.rows)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Of all workflows."""
        return tuple(change for each in self.workflows for change in each.changes)

    @property
    def alarms(self) -> tuple[Row | Change, ...]:
        """All that is said to have changed."""
        return tuple(alarm for each in self.workflows for alarm in each.alarms)

    def regressions(self, above: float) -> tuple[Row, ...]:
        """The rows that are slower, by more than `above` (0.1 is 10 %)."""
        return tuple(row for row in self.rows if row.verdict == "slower" and row.change > above)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dictionary for each row, for `pandas.DataFrame(...)` or `polars.DataFrame(...)`."""
        return [asdict(row) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """JSON values, as docs/compare.md describes them."""
        return {"version": VERSION, **asdict(self)}
