"""One HTML document from a JSON document: scripts and styles inside, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from ..recording.visible import visible

_ASSETS = Path(__file__).with_name("assets")
MOST_PLAIN = 1_000_000
"""Characters of data above which they are compressed."""
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z_]+)\.js";\n', flags=re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:function|const) (\w+)", flags=re.MULTILINE)
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def page(kind: str, document: Any, title: str, *, more: dict[str, Any] | None = None, connect: bool = False) -> str:
    """The page of a document.

    Args:
        kind: which page it is: its script is `assets/KIND.js`, its styles are those of the modules that it imports.
        document: what it shows, as JSON values.
        title: of the page.
        more: what it reads later than at its start, each by its name.
        connect: whether it may ask the server that it came from; else it may ask nobody.
    """
    script, style = script_of(kind), style_of(kind)
    blocks = [_data("data", document), *(_data(name, value) for name, value in (more or {}).items())]
    policy = policy_of(script, style, connect=connect)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(visible(title))}</title>
<style>{style}</style>
</head>
<body>
<main id="page"><p>This page is drawn by its script.</p></main>
{"".join(blocks)}<script type="module">{script}</script>
</body>
</html>
"""


def policy_of(script: str, style: str, *, connect: bool = False) -> str:
    """The Content-Security-Policy of a page that has this script and these styles, and nothing else."""
    more = "; connect-src 'self'" if connect else ""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:{more}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def script_of(kind: str) -> str:
    """The script of a page: its module behind those that it imports, each once and each with names of its own."""
    found: dict[str, str] = {}
    _gather(kind, found)
    return "\n" + "".join(found.values())


@cache
def style_of(kind: str) -> str:
    """The styles of a page: those of every module that its script imports, and its own."""
    found: dict[str, str] = {}
    _gather(kind, found)
    return "\n" + "".join(_asset(f"{name}.css") for name in ("base", *found) if _is_there(f"{name}.css"))


def _gather(name: str, found: dict[str, str], *, is_page: bool = True) -> None:
    """Add a module behind those that it imports; all but that of the page as a function that gives what it exports."""
    text = _asset(f"{name}.js")
    for _, other in _IMPORT.findall(text):
        if other not in found:
            _gather(other, found, is_page=False)
    exported = ", ".join(_EXPORT.findall(text))
    body = re.sub(r"^export ", "", _IMPORT.sub(r"const {\1} = \2_js;\n", text), flags=re.MULTILINE)
    if is_page:
        found[name] = f"{{\n{body}}}\n"
    else:
        found[name] = f"const {name}_js = (() => {{\n{body}return {{ {exported} }};\n}})();\n"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _is_there(name: str) -> bool:
    return (_ASSETS / name).is_file()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(name: str, value: Any) -> str:
    """A block of data, which is no script: of text that ends no element, or compressed where it is long."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if len(text) <= MOST_PLAIN:
        return f'<script type="application/json" id="{name}">{text.translate(_ESCAPES)}</script>\n'
    packed = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
    return f'<script type="application/octet-stream+gzip" id="{name}">{packed}</script>\n'
