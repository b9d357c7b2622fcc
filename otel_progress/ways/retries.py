"""`on_retry`: attempts and waits that a library for retries makes inside a stage."""

from __future__ import annotations

import time
from typing import Any

from ..recording import default
from ..recording.faults import passes, report
from ..recording.order import worker
from ..recording.times import NANO


def on_retry(details: Any) -> None:
    """Record that an attempt failed and another one follows, in the stage at hand: a hook for tenacity and stamina.

        @tenacity.retry(wait=tenacity.wait_exponential(), before_sleep=on_retry)
        def ask(prompt): ...

        stamina.instrumentation.set_on_retry_hooks([on_retry])  # Once, for all that stamina retries.

    Outside of a stage it does nothing. An attempt after which nothing is tried again fails the stage, or is caught by
    its code: of that no hook is told.

    Args:
        details: tenacity's `RetryCallState`, or stamina's `RetryDetails`.
    """
    try:
        visit = default.current_stage()
        found = _of_tenacity(details) or _of_stamina(details)
        if visit is None or found is None:
            return
        error, is_first, took, wait = found
        tries, ended = visit.tries_of(worker(), anew=is_first), visit.recorder.now(visit)
        tries.attempts = tries.attempts or 1
        began = tries.next_at if took is None else ended - round(took * NANO)
        tries.failed(error, ended if began is None else min(ended, max(began, visit.started)), ended)
        tries.next_at = ended + round(wait * NANO)
        tries.count(wait)
    except BaseException as fault:
        if passes(fault):
            raise
        report("a retry could not be recorded", fault)


_Found = tuple[BaseException, bool, float | None, float]
"""What the attempt raised, whether it was the first; seconds that it took, where that is known; until the next one."""


def _of_tenacity(state: Any) -> _Found | None:
    outcome, action = getattr(state, "outcome", None), getattr(state, "next_action", None)
    if outcome is None:
        return None
    error = outcome.exception()
    wait = float(getattr(action, "sleep", None) or 0.0)
    is_first = state.attempt_number == 1
    took = max(0.0, time.monotonic() - state.start_time) if is_first else None  # Of the others it does not say.
    return None if error is None else (error, is_first, took, wait)


def _of_stamina(details: Any) -> _Found | None:
    error = getattr(details, "caused_by", None)
    return None if error is None else (error, details.retry_num == 1, None, float(details.wait_for))
