"""Text from a program, safe to show, to log and to send: it must not move a cursor, turn a line around or be long."""

from __future__ import annotations

from itertools import chain

LONGEST_TEXT = 2_000
"""Characters of the message of an exception: enough for the answer of a service that refused a request."""
LONGEST_TRACE = 10_000
"""Characters of a stack trace, its message and causes among them."""

_CONTROLS = chain(range(0x20), range(0x7F, 0xA0))
_SEPARATORS = (0x2028, 0x2029)
_BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in chain(_CONTROLS, _SEPARATORS, _BIDIRECTIONAL)
}


def visible(text: str) -> str:
    r"""`text` with its control and bidirectional characters as escapes that can be seen, such as `\x1b`."""
    return text.translate(_ESCAPES)


def printable(text: str) -> str:
    """`text` without lone surrogates: UTF-8 has none, and one makes an exporter drop its whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def bounded(text: str, most: int) -> str:
    """`text` with its middle left out where it is longer than `most` characters: most is said at its two ends."""
    if len(text) > most:
        first = most // 4
        text = f"{text[:first]}\n... {len(text) - most} characters left out ...\n{text[first - most :]}"
    return printable(text)
