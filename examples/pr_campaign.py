"""A PR campaign as a PocketFlow workflow: from a brief to checked pieces for several platforms.

    engagement_manager > content_generation > style_editor <> style_compliance > fact_check > agency_director

    python examples/pr_campaign.py                     # as it is
    otel-progress run examples/pr_campaign.py          # the same, recorded

The first and the last stage are plain nodes, marked by trackers in the flow; `@stage` records the others.
"""
# PocketFlow names the nodes' methods and their arguments, and connects nodes by expressions: `a >> b`.
# pyright: reportUnusedExpression=false

from __future__ import annotations

import argparse
import difflib
import http.client
import json
import math
import os
import re
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pocketflow

from otel_progress import ProgressTrackerNode, stage, workflow

if TYPE_CHECKING:  # Its classes are generic for type checkers only.
    Node = BatchNode = pocketflow.Node[Any, Any, str]
    Flow = pocketflow.Flow[Any, Any]
else:
    from pocketflow import BatchNode, Flow, Node

Shared = dict[str, Any]
Brief = dict[str, Any]  # FIELDS says what is in it.
Pieces = dict[str, str]  # The text for each platform.
Violation = dict[str, str]  # Its platform, its kind (one of KINDS) and a detail.


# --- the workflow -----------------------------------------------------------------------------------------------------


def keep(shared: Shared, action: str, pieces: Pieces, changes: list[str], fixed: Sequence[Violation] = ()) -> None:
    """Make `pieces` the current ones and add them to the history."""
    shared["content_pieces"] = pieces
    version = {
        "version_id": f"v{len(shared['version_history']) + 1}",
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "action": action,
        "content_pieces": dict(pieces),
        "changes_made": changes,
        "violations_fixed": list(fixed),
    }
    shared["version_history"].append(version)


def hand_on(shared: Shared, done: str, following: str, action: str = "default") -> str:
    """Note that a stage is done and which one follows; gives the action for the flow."""
    shared["workflow_state"]["completed_stages"].append(done)
    shared["workflow_state"]["current_stage"] = following
    return action


class EngagementManager(Node):
    """Turns the brief into the requirements that the others work by."""

    def prep(self, shared: Shared) -> Brief:
        return shared["brief"]

    def exec(self, prep_res: Brief) -> dict[str, Any]:
        shortest_first = [name for name in PLATFORMS if name in prep_res["platforms"]]
        return {"topic": prep_res["topic"], "audience": prep_res["audience"], "platforms": shortest_first}

    def post(self, shared: Shared, prep_res: Brief, exec_res: dict[str, Any]) -> str:
        shared["task_requirements"] = exec_res
        shared["workflow_state"] = {"current_stage": "engagement_manager", "completed_stages": []}
        shared["quality_control"] = {"revision_count": 0, "violations": []}
        return hand_on(shared, "engagement_manager", "content_generation")


@stage("content_generation", budget="2m")
class ContentCraftsman(BatchNode):
    """Drafts a piece for each platform."""

    def prep(self, shared: Shared) -> list[dict[str, Any]]:
        return [{"platform": name, "brief": shared["brief"]} for name in shared["task_requirements"]["platforms"]]

    def exec(self, prep_res: dict[str, Any]) -> str:
        base_url = os.environ.get("PR_CAMPAIGN_LLM_URL")
        return ask_llm(base_url, **prep_res) if base_url else draft(**prep_res)

    def post(self, shared: Shared, prep_res: list[dict[str, Any]], exec_res: list[str]) -> str:
        pieces = {item["platform"]: text for item, text in zip(prep_res, exec_res, strict=True)}
        keep(shared, "drafted", pieces, [f"{name}: first draft" for name in pieces])
        return hand_on(shared, "content_generation", "style_editor")


class PiecesNode(Node):
    """What the others have in common: they work on the pieces, by the brief."""

    def prep(self, shared: Shared) -> tuple[Pieces, Brief]:
        return shared["content_pieces"], shared["brief"]


@stage("style_editor")
class StyleEditor(PiecesNode):
    """Mends one kind of violation at a time."""

    def exec(self, prep_res: tuple[Pieces, Brief]) -> tuple[Pieces, list[Violation]]:
        pieces, brief = prep_res
        found = violations_in(pieces, brief)
        fixed = [each for each in found if each["kind"] == found[0]["kind"]]
        edited = dict(pieces)
        for platform in {each["platform"] for each in fixed}:
            edited[platform] = mended(pieces[platform], fixed[0]["kind"], platform, brief)
        return edited, fixed

    def post(self, shared: Shared, prep_res: Any, exec_res: tuple[Pieces, list[Violation]]) -> str:
        pieces, fixed = exec_res
        if fixed:
            keep(shared, "revised", pieces, [f"{each['platform']}: {each['detail']}" for each in fixed], fixed)
        return hand_on(shared, "style_editor", "style_compliance")


@stage("style_compliance")
class StyleCompliance(PiecesNode):
    """Sends the pieces back to the editor while they break a rule, as often as the brief allows."""

    def exec(self, prep_res: tuple[Pieces, Brief]) -> list[Violation]:
        return violations_in(*prep_res)

    def post(self, shared: Shared, prep_res: Any, exec_res: list[Violation]) -> str:
        control = shared["quality_control"]
        control["violations"] = exec_res
        if exec_res and control["revision_count"] < shared["brief"]["max_revisions"]:
            control["revision_count"] += 1
            return hand_on(shared, "style_compliance", "style_editor", "revise")
        return hand_on(shared, "style_compliance", "fact_check")


class FactError(Exception):
    """A piece claims what the brief does not say."""


@stage("fact_check")
class FactCheck(PiecesNode):
    """Checks every figure and name; a retry first goes back to the brief's own words where the check failed."""

    def exec(self, prep_res: tuple[Pieces, Brief]) -> Pieces:
        pieces, brief = prep_res
        if self.cur_retry > 0:
            pieces = {name: corrected(text, brief) for name, text in pieces.items()}
        for name, text in pieces.items():
            if claims := [claim for sentence in sentences_of(text) for claim in unconfirmed(sentence, brief)]:
                raise FactError(f"{name}: the brief says nothing of {', '.join(claims)}")
        return pieces

    def post(self, shared: Shared, prep_res: tuple[Pieces, Brief], exec_res: Pieces) -> str:
        before, _ = prep_res
        if changes := [f"{name}: figures or names" for name, text in exec_res.items() if text != before[name]]:
            keep(shared, "corrected", exec_res, changes)
        return hand_on(shared, "fact_check", "agency_director")


class AgencyDirector(PiecesNode):
    """Approves the pieces that keep every rule, holds the others back, and delivers the file."""

    def exec(self, prep_res: tuple[Pieces, Brief]) -> list[dict[str, Any]]:
        pieces, brief = prep_res
        reasons = {name: [] if text else ["nothing left"] for name, text in pieces.items()}
        for each in violations_in(pieces, brief):
            reasons[each["platform"]].append(each["detail"])
        return [{"platform": name, "text": pieces[name], "held_back": reasons[name]} for name in pieces]

    def post(self, shared: Shared, prep_res: Any, exec_res: list[dict[str, Any]]) -> str:
        shared["delivery"] = {"topic": shared["task_requirements"]["topic"], "pieces": exec_res}
        shared["out"].write_text(json.dumps(shared["delivery"], indent=2, ensure_ascii=False) + "\n", "utf-8")
        return hand_on(shared, "agency_director", "delivered")


def run_campaign(brief: Brief, out: Path) -> Shared:
    """Run the workflow; gives its store."""
    begin, craft, editor = ProgressTrackerNode(), ContentCraftsman(max_retries=3, wait=0.2), StyleEditor()
    compliance, facts = StyleCompliance(), FactCheck(max_retries=3, wait=0.05)
    begin >> EngagementManager() >> ProgressTrackerNode() >> craft >> editor >> compliance >> facts
    compliance - "revise" >> editor
    facts >> ProgressTrackerNode() >> AgencyDirector() >> ProgressTrackerNode(final=True)

    shared: Shared = {"brief": brief, "out": out, "version_history": []}
    shared["workflow_state"] = {"current_stage": "engagement_manager", "completed_stages": []}
    with workflow("pr_campaign", shared=shared):
        Flow(start=begin).run(shared)
    return shared


# --- the brief --------------------------------------------------------------------------------------------------------

FIELDS: dict[str, type] = {
    **dict.fromkeys(("product", "topic", "audience", "call_to_action"), str),
    **dict.fromkeys(("platforms", "hashtags", "facts"), list),
    "forbidden_phrases": dict,  # Each with what to say instead.
    "max_revisions": int,
}
WANTED = {str: "a text", list: "a list of one or more texts", dict: "an object of texts", int: "a number from 0"}


class BriefError(Exception):
    """The brief cannot be used."""


def read_brief(path: Path) -> Brief:
    """The brief in a JSON file, with every field checked."""
    try:
        loaded: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BriefError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BriefError(f"{path} is not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise BriefError(f"{path} must hold an object with {', '.join(FIELDS)}")
    brief = cast(Brief, loaded)
    for field, kind in FIELDS.items():
        if field not in brief:
            raise BriefError(f"{path}: {field} is missing")
        if not fits(brief[field], kind):
            raise BriefError(f"{path}: {field} must be {WANTED[kind]}")
    for platform in brief["platforms"]:
        if platform not in PLATFORMS:
            raise BriefError(f"{path}: platforms has {platform!r}, which is none of {', '.join(PLATFORMS)}")
    return brief


def fits(value: Any, kind: type) -> bool:
    """Whether a value of the brief is of its kind, with no empty text in it."""
    if type(value) is not kind:
        return False
    if kind is int:
        return value >= 0
    texts = value if kind is list else [*value, *value.values()] if kind is dict else [value]
    return all(isinstance(text, str) and text.strip() for text in texts) and (kind is not list or value != [])


# --- the text ---------------------------------------------------------------------------------------------------------

KINDS = ("phrase", "mark", "length")  # In the order in which an editor mends them.
WORD = re.compile(r"\d+(?:[.,]\d+)*%?|[^\W\d_]\w+")
PLAIN_FIGURE = re.compile(r"(?<![\d.,])\d+(?!\d|[.,]\d)")


class Platform(NamedTuple):
    """What a platform takes, and how a draft for it opens."""

    max_length: int
    hashtags: bool
    opening: str


PLATFORMS = {
    "twitter": Platform(280, True, "Meet {product} — {topic}!"),
    "bluesky": Platform(300, True, "New: {product} — {topic}!"),
    "mastodon": Platform(500, True, "Say hello to {product} — {topic}!"),
    "newsletter": Platform(700, False, "Dear reader, this is {product} — {topic}!"),
    "linkedin": Platform(1300, True, "We are proud to present {product} — {topic}!"),
    "instagram": Platform(2200, True, "Picture this: {topic}, by {product}!"),
}


def draft(brief: Brief, platform: str) -> str:
    """A copywriter's first draft: full of clichés, long, and in longer pieces generous with the first figure."""
    facts = list(brief["facts"])
    if PLATFORMS[platform].max_length > 500:
        facts[0] = PLAIN_FIGURE.sub(lambda figure: f"nearly {math.ceil(int(figure[0]) / 10) * 10}", facts[0], count=1)
    opening = PLATFORMS[platform].opening.format_map(brief)
    closing = f"It is a game-changing service, and {brief['audience']} can leverage it from today!"
    return " ".join([opening, *facts, closing, brief["call_to_action"], *(f"#{tag}" for tag in brief["hashtags"])])


class LLMError(Exception):
    """The language model gave no text."""


def ask_llm(base_url: str, brief: Brief, platform: str) -> str:
    """A draft by the OpenAI-compatible API at `base_url`."""
    rules = PLATFORMS[platform]
    prompt = (
        f"Write a {platform} post of at most {rules.max_length} characters, {'with' if rules.hashtags else 'without'} "
        f"hashtags, about {brief['product']} ({brief['topic']}) for {brief['audience']}. Use only these facts, with "
        f"their exact figures: {' '.join(brief['facts'])} End with: {brief['call_to_action']} "
        f"Never say: {', '.join(brief['forbidden_phrases'])}. Answer with the post only."
    )
    url = f"{base_url.rstrip('/')}/chat/completions"
    model = os.environ.get("PR_CAMPAIGN_LLM_MODEL", "gpt-4o-mini")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("PR_CAMPAIGN_LLM_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as response:
            words = json.load(response)["choices"][0]["message"]["content"].split()
    except urllib.error.HTTPError as error:
        error.close()
        raise LLMError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LLMError(f"{url} gave no chat completion: {error!r}") from error
    if not words:
        raise LLMError(f"{url} gave an empty text")
    return " ".join(words)


def violations_in(pieces: Pieces, brief: Brief) -> list[Violation]:
    """The rules that the pieces break, in the order in which an editor mends them."""
    found: list[Violation] = []
    for platform, text in pieces.items():
        limit, hashtags, _ = PLATFORMS[platform]
        rules = [
            *(("phrase", phrase, finder(phrase).search(text)) for phrase in brief["forbidden_phrases"]),
            ("mark", "em dash", "—" in text),
            ("mark", "more than one exclamation mark", text.count("!") > 1),
            ("mark", "hashtag", "#" in text and not hashtags),
            ("length", f"{len(text)} of {limit} characters", len(text) > limit),
        ]
        found += [{"platform": platform, "kind": kind, "detail": detail} for kind, detail, broken in rules if broken]
    return sorted(found, key=lambda violation: KINDS.index(violation["kind"]))


def finder(phrase: str) -> re.Pattern[str]:
    """Finds a phrase as whole words, capital or not."""
    return re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)


def mended(text: str, kind: str, platform: str, brief: Brief) -> str:
    """The text without violations of one kind."""
    limit, hashtags, _ = PLATFORMS[platform]
    if kind == "phrase":
        for phrase, plain in brief["forbidden_phrases"].items():
            capital = plain[0].upper() + plain[1:]
            text = finder(phrase).sub(lambda hit, to=(plain, capital): to[hit[0][0].isupper()], text)
    elif kind == "mark":
        calm, mark, rest = re.sub(r"!+", "!", re.sub(r"\s*—\s*", ", ", text)).rpartition("!")
        text = calm.replace("!", ".") + mark + rest
        if not hashtags:
            text = re.sub(r"(\s*#\w+)+\s*$", "", text).replace("#", "")
    else:  # From the middle: opening and call to action stay longest.
        sentences = sentences_of(text)
        while len(" ".join(sentences)) > limit and len(sentences) > 1:
            del sentences[len(sentences) // 2]
        text = textwrap.shorten(" ".join(sentences), limit, placeholder="…")
    return text


def sentences_of(text: str) -> list[str]:
    """The sentences of a text."""
    return re.split(r"(?<=[.!?])\s+", text)


def unconfirmed(sentence: str, brief: Brief) -> list[str]:
    """The figures, and the names after the first word, that the brief does not know."""
    source = [brief[field] for field, kind in FIELDS.items() if kind is str] + brief["hashtags"] + brief["facts"]
    known = set(WORD.findall(" ".join(source)))
    words = enumerate(WORD.findall(sentence))
    return [word for at, word in words if (word[0].isdigit() or (at and word[0].isupper())) and word not in known]


def corrected(text: str, brief: Brief) -> str:
    """The text with the nearest fact, or nothing, in the place of each sentence that the brief does not confirm."""
    facts: list[str] = brief["facts"]
    sentences: list[str] = []
    for sentence in sentences_of(text):
        wrong = unconfirmed(sentence, brief)
        sentences += difflib.get_close_matches(sentence, facts, n=1) if wrong else [sentence]
    return " ".join(sentences)


# --- the command line -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(
        description="Turn a brief into checked pieces for several platforms.",
        epilog="Templates write the drafts, unless the environment variable PR_CAMPAIGN_LLM_URL holds the base URL of "
        "an OpenAI-compatible API, such as http://localhost:11434/v1. PR_CAMPAIGN_LLM_MODEL then names its model "
        "(default: gpt-4o-mini) and PR_CAMPAIGN_LLM_KEY holds its key, if it wants one.",
    )
    brief, out = Path(__file__).with_name("brief.json"), Path("pr_campaign_pieces.json")
    parser.add_argument("brief", nargs="?", type=Path, default=brief, help="default: brief.json beside this program")
    parser.add_argument("--out", type=Path, default=out, help="file for the pieces (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        shared = run_campaign(read_brief(options.brief), options.out)
    except (BriefError, LLMError, OSError) as error:
        print(f"pr_campaign: {error}", file=sys.stderr)
        return 2 if isinstance(error, BriefError) else 1
    for piece in shared["delivery"]["pieces"]:
        held_back = f"held back ({', '.join(piece['held_back'])}): " if piece["held_back"] else ""
        start = textwrap.shorten(piece["text"], 60, placeholder=" …")
        print(f"{piece['platform']:<12}{len(piece['text']):>5} characters  {held_back}{start}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
