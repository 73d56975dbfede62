"""Metrics handed to several outputs: one that fails is told once, and the others go on."""

from __future__ import annotations

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.core.metrics_text import MetricsText
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Ended, Round
from halfopen.ops.watch import handshake_times
from halfopen.ops.watch.export import Export


class Remembering:
    """Keeps each text; with `broken` it refuses them."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.broken = self.closed = False

    def write(self, text: MetricsText) -> None:
        if self.broken:
            raise HalfopenError("broken", f"output {id(self)} is broken")
        self.texts.append(text.whole)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _without_ebpf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise HalfopenError("refused", "no eBPF in this test")

    monkeypatch.setattr(handshake_times, "HandshakePrograms", refused)


def rounds(export: Export, n: int) -> list[str]:
    """What n rounds tell of outputs that fail."""
    told = []
    for _ in range(n):
        export._next = export._idle_next = 0.0
        trouble = export.take(Round(frozenset(), frozenset()))
        if trouble is not None:
            told.append(trouble.error.message)
    return told


def test_each_output_gets_each_text_and_is_closed_at_the_end() -> None:
    first, second = Remembering(), Remembering()
    export = Export([first, second], "1.2")
    export.take(Begun(2.5, Policy()))
    assert rounds(export, 3) == []
    assert len(first.texts) == 4
    assert first.texts == second.texts
    last = first.texts[-1].decode()
    assert "\nhalfopen_interval_seconds 2.5\n" in last
    assert 'version="1.2"' in last
    assert "\nhalfopen_handshakes_counted 0.0\n" in last
    assert float(last.partition("\nhalfopen_resident_memory_bytes ")[2].split()[0]) > 1e6
    export.take(Ended(3))
    assert first.closed
    assert second.closed


def test_outputs_that_fail_are_told_once_each_and_the_others_go_on() -> None:
    outputs = [Remembering() for _ in range(3)]
    export = Export(outputs)
    outputs[0].broken = outputs[2].broken = True
    assert rounds(export, 4) == [f"output {id(outputs[i])} is broken" for i in (0, 2)]
    assert len(outputs[1].texts) == 5
    outputs[0].broken = False
    assert rounds(export, 1) == []
    outputs[0].broken = True
    assert len(rounds(export, 3)) == 1, "it failed anew"


def test_an_output_that_fails_from_the_start_ends_the_watch_before_it_begins() -> None:
    broken = Remembering()
    broken.broken = True
    with pytest.raises(HalfopenError):
        Export([broken])
