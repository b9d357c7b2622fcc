"""Text from a program, safe to show: a name must not move the cursor, set a clipboard or turn a line around."""

from __future__ import annotations

from itertools import chain

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
