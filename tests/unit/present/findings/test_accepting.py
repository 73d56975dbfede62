"""What is said of processes that do not accept, and what stands in the first line."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict
from halfopen.core.sample import Process
from halfopen.core.sample.workers import Quota, WorkerState
from halfopen.present.findings.headline import headline
from halfopen.present.findings.sentences import say
from rows import listener
from verdicts import many, model_of, second_look

WEB = {1: (Process(7, "web", "web.service"),)}
FULL = listener(accept_queue=9, limit=8, cookie=5)
WAITS = WorkerState(7, 1, "S", ("futex_do_wait",))


def judged(before: WorkerState, now: WorkerState | None = None, **values: Any) -> Verdict:
    return second_look([], FULL, owners=WEB, workers=([before], [now or before]), **values)[0]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (replace(WAITS, state="T"), None, "is stopped (state T, as by SIGSTOP)"),
        (replace(WAITS, state="t"), None, "is stopped by a debugger"),
        (WAITS, None, "waits for a lock and does not accept"),
        (replace(WAITS, waits_in=("odd_wait",)), None, "waits in odd_wait and does not accept"),
        (replace(WAITS, state="D"), None, "waits for a lock (state D, uninterruptible) and does not accept"),
        (WAITS, replace(WAITS, ran_s=0.5), "computes (100% of a CPU) and does not accept"),
        (
            replace(WAITS, descriptors=24, descriptor_limit=24),
            None,
            "has no file descriptors left (24 of 24 are open), and accept() fails",
        ),
        (
            replace(WAITS, quotas=(Quota("/x", 10, 5),)),
            replace(WAITS, quotas=(Quota("/x", 15, 10),)),
            "has used up the CPU quota of its cgroup (5 of 5 periods)",
        ),
    ],
)
def test_what_the_first_line_says(before: WorkerState, now: WorkerState | None, words: str) -> None:
    verdict = judged(before, now)
    line = headline(model_of([], FULL, owners=WEB), verdict)
    assert line == f"the accept queue of :8080 is full (9 of 9): web 7 (web.service) {words}"
    assert say(verdict.findings[0]).startswith(line)


def test_what_it_waits_for_when_its_own_rules_keep_it_from_accepting() -> None:
    said = say(judged(replace(WAITS, waits_in=("ep_poll",))).findings[0])
    assert "it waits for events (ep_poll): a limit of its own may be reached" in said


def test_descriptors_are_raised_where_the_unit_sets_them() -> None:
    said = say(judged(replace(WAITS, descriptors=24, descriptor_limit=24)).findings[0])
    assert "raise LimitNOFILE of web.service, or have it close what it leaks" in said


def test_half_open_connections_come_second_where_they_are_not_the_trouble() -> None:
    verdict = judged(replace(WAITS, state="T"))
    assert "half-open" not in headline(model_of(many(3), FULL), verdict)
    assert headline(model_of(many(3), FULL)).startswith("3 half-open connections")
