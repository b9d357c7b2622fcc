"""Whether it got slower: two sets of runs of one workflow, and what can be said of the difference.

    from otel_progress.compare import compare
    from otel_progress.runs import read

    for row in compare(read("last-week"), read("this-week")).rows:
        print(row.stage or "the run", row.verdict, f"{row.change:+.1%}")

Works on the model of a run alone; no table and no command: those are in `report` and `cli`. Needs SciPy, which
`pip install 'otel-progress[compare]'` brings, once it compares.
"""

from .comparing import compare, compare_samples
from .library import MissingLibraryError
from .model import Change, Comparison, Row, Side, Verdict, WorkflowComparison
from .samples import Sample, sample_of

__all__ = [
    "Change",
    "Comparison",
    "MissingLibraryError",
    "Row",
    "Sample",
    "Side",
    "Verdict",
    "WorkflowComparison",
    "compare",
    "compare_samples",
    "sample_of",
]
