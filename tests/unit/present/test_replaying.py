"""The line above a screen that is seen again."""

from __future__ import annotations

import live as made
from halfopen.core.findings.verdict import judge
from halfopen.core.flight import ReplayedReading
from halfopen.present.language import spoken
from halfopen.present.replaying import _seen


def test_it_says_when_and_what_differs_in_the_language_that_is_spoken() -> None:
    """`the rules have changed since` stood above readings that the same version had recorded, and in English."""
    model = made.flooded()
    began_s = model.sample.wall_s - 4.0
    verdict = judge(model)
    assert _seen(ReplayedReading(model, verdict), began_s).endswith(", 4 s after the first sign.")
    assert "verdict would differ" in _seen(ReplayedReading(model, verdict, again=False), began_s)
    left_out = ReplayedReading(model, verdict, left_out=("requests",))
    assert "without requests: there were too many" in _seen(left_out, began_s)
    with spoken("zh"):
        assert "根据记录重新判断" in _seen(ReplayedReading(model, verdict, again=False), began_s)
