"""Colours that judge: the same colour means the same everywhere, and what is neither good nor bad has none of them."""

from __future__ import annotations

from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

Judgement: TypeAlias = "tuple[tuple[float, str], ...]"
"""From which value on something has which colour. What has no value has none."""

WELL, NOTE, DOUBTFUL, BAD = "green", "yellow", "orange", "red"
SOME = 1e-9
"""More than nothing, of a share."""

SUCCESS: Judgement = ((0, BAD), (0.9, DOUBTFUL), (0.99, WELL))
"""Of runs, as a share of all."""
YIELD: Judgement = ((0, BAD), (0.5, DOUBTFUL), (0.8, WELL))
"""What needed no second go, as a share of all."""
FAILURES: Judgement = ((0, WELL), (1, BAD))
FAILED_SHARE: Judgement = ((0, WELL), (SOME, DOUBTFUL), (0.1, BAD))
FALLBACKS: Judgement = ((0, WELL), (SOME, NOTE), (0.1, DOUBTFUL))
FALLBACK_COUNT: Judgement = ((0, WELL), (1, NOTE))
OF_USUAL: Judgement = ((0, WELL), (1.25, DOUBTFUL), (1.5, BAD))
OF_BUDGET: Judgement = ((0, WELL), (0.8, DOUBTFUL), (1, BAD))

USUAL_LINES: Judgement = ((1, WELL), (1.5, BAD))
"""Lines to draw: as usual, and half as long again."""


def thresholds(judgement: Judgement, without: str = "text") -> dashboard.ThresholdsConfig:
    """The judgement as Grafana takes it; `without` is the colour of what has no value."""
    steps = [model.Threshold(value=None, color=without)]
    steps += [model.Threshold(value=float(value), color=colour) for value, colour in judgement]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def in_cells(judgement: Judgement, good: str = "text") -> Judgement:
    """The same where many values stand beside each other: only what is not good stands out."""
    return tuple((value, good if colour == WELL else colour) for value, colour in judgement)


def by_judgement() -> dashboard.FieldColor:
    """A colour by the thresholds."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def by_name() -> dashboard.FieldColor:
    """A colour that follows from the name: one stage has one colour in every panel."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)


def fixed(colour: str) -> dashboard.FieldColor:
    """One colour for all."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(colour)


def shades(colour: str) -> dashboard.FieldColor:
    """Shades of one colour: errors are never green."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color(colour)
