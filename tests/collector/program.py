"""What the file beside was recorded of: a campaign with all that a run may have, and one more run."""

import time

from otel_progress import configure, stage, workflow

with configure(service_name="studio", events=True):
    shared = {"task_requirements": {"platforms": ["twitter", "linkedin"]}, "quality_control": {"revision_count": 0}}
    with workflow("pr_campaign", shared=shared):
        for revision in range(2):
            shared["quality_control"] = {"revision_count": revision}
            with stage("draft") as visit:
                visit.advance(1, total=2)
                time.sleep(0.002)
        try:
            with stage("fact_check"):
                raise ConnectionError("no line")
        except ConnectionError:
            pass
        with stage("publish") as visit, visit.waiting("approval"):
            time.sleep(0.005)
    with workflow("nightly"), stage("extract"), stage("load"):
        pass
