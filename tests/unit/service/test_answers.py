"""The answers of the service, kept for a while."""

from __future__ import annotations

import threading
import time

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.service.answers import Answered, Answers, Wanted


def test_the_same_question_has_one_answer_for_a_while() -> None:
    runs: list[Wanted] = []

    def costly(wanted: Wanted) -> Answered:
        runs.append(wanted)
        return Answered(0, "x", "", time.monotonic(), 100.0)

    answers = Answers(run=costly)
    came: list[Answered | HalfopenError] = []
    done = threading.Semaphore(0)

    def then(made: Answered | HalfopenError) -> None:
        came.append(made)
        done.release()

    for _ in range(5):
        answers.ask(Wanted(("status",)), then)
        assert done.acquire(timeout=60)
    assert len(runs) == 1
    # Another question waits until the share allows it, and no more than a few wait.
    for i in range(16):
        answers.ask(Wanted(("list", str(i))), then)
    with pytest.raises(HalfopenError, match="too much to answer"):
        answers.ask(Wanted(("list",)), then)
    answers.close()
