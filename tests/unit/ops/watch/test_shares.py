"""How long a watch waits after it read every request."""

from __future__ import annotations

import pytest

from halfopen.ops.watch import turn


@pytest.mark.parametrize(
    ("taken_s", "used_s", "rest_s"),
    [
        (0.01, 0.01, 0.19),  # of a processor of its own: a twentieth of the time
        (0.70, 0.01, 0.70),  # it waited for a processor nearly all the time: that alone does not make the ages old
        (0.05, 0.10, 1.90),  # two threads
    ],
)
def test_it_is_processor_time_that_counts(
    monkeypatch: pytest.MonkeyPatch, taken_s: float, used_s: float, rest_s: float
) -> None:
    """On a machine with a load of ten, 4,000 connections were read every fifteen seconds."""
    clock, used = [100.0, 100.0 + taken_s], [5.0, 5.0 + used_s]
    monkeypatch.setattr(turn.time, "monotonic", lambda: clock.pop(0))
    monkeypatch.setattr(turn.time, "process_time", lambda: used.pop(0))
    assert turn._Began.now().rest_s(0.05) == pytest.approx(rest_s)
