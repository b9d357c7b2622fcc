"""The pictures of the display in `docs/live`: `python -m tests.pictures` draws them again."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

from rich.console import Console
from rich.text import Text

from otel_progress.live.painting import STYLES, Line
from otel_progress.live.screen import Ended, Screen
from otel_progress.runs.present import Present

from .test_lines import after, told
from .test_live_screen import a_campaign, expecting

FOLDER = Path(__file__).parents[1] / "docs" / "live"
SIZES = {40: 24, 80: 24, 132: 30}


def lines_at(columns: int) -> list[Line]:
    """What the pictures show."""
    present = Present()
    for happening in told(*a_campaign()):
        present.enter(happening)
    runs = list(present.runs.values())
    return Screen(expects=expecting(130, 300)).lines(runs, Ended(), after(20), columns, SIZES[columns])


def picture(columns: int) -> str:
    """A picture of so many columns."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="standard")
    for line in lines_at(columns):
        # Marks in characters of their own are moved by the picture, not by a terminal.
        parts = ((unicodedata.normalize("NFC", text), style if style in STYLES else "") for text, style in line)
        console.print(Text.assemble(*parts))
    return console.export_svg(title=f"otel-progress run app.py ({columns} columns)", unique_id=f"live{columns}")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for columns in SIZES:
        (FOLDER / f"{columns}.svg").write_text(picture(columns), "utf-8")
