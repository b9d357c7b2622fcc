"""A node that marks stages as it is passed, for flows whose nodes stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketflow import Node

from .recording import default
from .recording.call import Call, Code
from .recording.faults import passes, report
from .recording.seen import read_platforms, read_revision
from .recording.store import given_store, name_of, read
from .recording.times import now_timestamp
from .recording.tracking import finish_tracked, track
from .ways import nodes

if TYPE_CHECKING:
    _Node = Node[dict[str, Any], dict[str, Any], str]  # Generic in its stub only.
else:
    _Node = Node

_HOLDERS = ("workflow_state", "task_requirements", "quality_control")


class ProgressTrackerNode(_Node):
    """Marks the stage that `shared["workflow_state"]["current_stage"]` names, each time the flow passes it.

    Every other stage that a tracker began in this run is completed, and the current one is begun, unless it is open. A
    stage that a decorator or the instrumentor records is never counted twice: the tracker then only brings its
    platforms and revisions up to date. It always goes on with the action `"default"`, works in sync and async flows,
    and may stand in several places.

        engagement >> ProgressTrackerNode() >> craft >> ProgressTrackerNode(final=True)

    Args:
        final: complete what trackers have begun, instead of beginning a stage. The end of the run does it too.
    """

    def __init__(self, *, final: bool = False) -> None:
        super().__init__()
        self.final = final

    def prep(self, shared: Any) -> dict[str, Any]:
        """The three dicts that tell the progress; an empty one for each that `shared` lacks."""
        return {holder: value if (value := read(shared, holder)) is not None else {} for holder in _HOLDERS}

    def exec(self, prep_res: dict[str, Any]) -> dict[str, Any]:
        """What they tell: `stage_start` (ISO 8601), `platforms_processed`, `revision_count`, `current_stage`."""
        return {
            "stage_start": now_timestamp(),
            "platforms_processed": read_platforms(prep_res).count,
            "revision_count": read_revision(prep_res) or 0,
            "current_stage": read(prep_res["workflow_state"], "current_stage"),
        }

    def post(self, shared: Any, prep_res: dict[str, Any], exec_res: dict[str, Any]) -> str:
        """Bring `progress_metrics` up to date; go on with `"default"`."""
        try:
            self._mark(shared, prep_res, exec_res)
        except BaseException as error:
            if passes(error, theirs=True):
                raise
            report("ProgressTrackerNode could not mark the stage; the workflow goes on", error)
        return "default"

    def _mark(self, shared: Any, prep_res: dict[str, Any], exec_res: dict[str, Any]) -> None:
        recorder = default.recorder
        if self.final:
            finish_tracked(recorder, given_store(shared))
            return
        stage = exec_res["current_stage"]
        if stage is None or stage == "":
            return
        # What an exec of the user's own makes of them is given; else the store is read, again at the stage's end.
        platforms, revision = exec_res["platforms_processed"], exec_res["revision_count"]
        code = Code(
            name_of(stage) or "stage",
            platforms=None if platforms == read_platforms(prep_res).count else platforms,
            revision=None if revision == (read_revision(prep_res) or 0) else revision,
            loose=True,
        )
        track(recorder, Call(code, given_store(shared)))


nodes.leave_out(ProgressTrackerNode)
