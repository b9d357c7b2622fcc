"""When two names are spellings of one name."""

from __future__ import annotations

import functools
import unicodedata

_MARKS = "_- "


@functools.lru_cache(4096)  # Names beyond those that a run tells apart are asked for at every visit.
def spellings(name: str, *, of_class: bool = False) -> tuple[str, ...]:
    """What `name` may have in common with another one, the closest first: they are one name if they have any of it.

    They differ in case, `_`, `-` and white space only, or in a final `Node` where one of the two is a class's.
    """
    whole, stem = _folded(name), _without_node(name)
    if of_class:
        return whole, _folded(stem) if stem else f"{whole} node"
    return (whole, f"{_folded(stem)} node") if stem else (whole,)


def _folded(name: str) -> str:
    """Every other sign tells names apart: "1.1" is not "11", "C++" is not "C#", a vowel sign makes another word.

    Lower case and no more: the folding of Unicode would make "Masse" of "Maße". Nothing folds to nothing.
    """
    letters = unicodedata.normalize("NFC", name).lower().replace("_", "").replace("-", "")
    return "".join(letters.split()) or name


def _without_node(name: str) -> str:
    """`name` without a last word `Node`; empty where it has none, or is nothing else."""
    rest, last = name[:-4], name[-4:]
    is_word = last == "Node" or (last.lower() == "node" and (rest[-1:] in _MARKS or rest[-1:].isspace()))
    return rest.strip(_MARKS) if is_word else ""
