"""A program's own text behind a word of ours, so that both together read as one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WAITS = re.compile(r"wait(?:s|ing)?(?:\s+(?=(?:for|on|to|till|until)\b)|$)", re.IGNORECASE)
_LEAD = re.compile(r"(for|on|to|till|until)(?:\s+|$)", re.IGNORECASE)
_MOST_REASONS = 3


def behind(word: str, text: str) -> str:
    """`text` behind `word`, which stands once where the text begins with it; without a text there is nothing."""
    text = text.strip()
    first, *rest = text.split(None, 1) or ("",)
    if first.lower() == word:
        return f"{word} {rest[0]}" if rest else word
    return f"{word} {text}" if text else ""


def for_what(reason: str, longest: int | None = None) -> str:
    """What comes behind `waits`, with a blank before it: ` for approval`; nothing where the reason says no more.

    A reason may itself begin with how it goes on: `for the editor`, `waiting for the editor`, `until noon`.

    Args:
        reason: what a visit says that it waits for.
        longest: characters of the reason that are said; None: all.
    """
    said = _WAITS.sub("", reason.strip(), count=1)
    lead = _LEAD.match(said)
    word, rest = (lead[1].lower(), said[lead.end() :]) if lead else ("for", said)
    rest = rest.strip().rstrip(". ")
    if longest is not None and len(rest) > longest:
        rest = f"{rest[: longest - 1].rstrip()}…"
    return f" {word} {rest}" if rest else ""


def for_all(reasons: Iterable[str]) -> str:
    """The same for what waits for several things, without the blank: `for approval, the editor, until noon`."""
    found = [each[1:] for each in dict.fromkeys(map(for_what, reasons)) if each]
    said: list[str] = []
    for number, each in enumerate(found[:_MOST_REASONS]):
        goes_on = number > 0 and found[number - 1].startswith("for ")
        said.append(each.removeprefix("for ") if goes_on else each)
    more = len(found) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")
