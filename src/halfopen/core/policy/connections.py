"""Trouble with open and closing connections, as looks now and then find it: what of it is lasting, and the alarm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.findings.all_rules import is_note
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.policy.counts import ListenerCounts
from halfopen.core.policy.detection import Because, Judgement, Sensitivity, Watcher
from halfopen.core.policy.stages import AlarmStage, Signal, StageTold, advance

# A pool may leave fewer behind, and a few peers vanish every day.
_MANY: Final = 50


class LastingTrouble(Struct, frozen=True):
    """What looks at the connections of a namespace came to. findings: of the last look, mere remarks left out.
    alarming: by their ids the findings that are an alarm: those that two looks running had, until two have not.
    """

    findings: tuple[Finding, ...] = ()
    alarming: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    _before: frozenset[str] = frozenset()

    def after(self, found: Iterable[Finding]) -> LastingTrouble:
        """After one more look."""
        mine = tuple(one for one in found if one.level > Level.OK and not is_note(one))
        bad: dict[str, tuple[Finding, ...]] = {}
        for id in dict.fromkeys(one.id for one in mine):
            alike = tuple(one for one in mine if one.id == id and one.level >= Level.WARNING)
            if alike and (_sockets(alike) >= _MANY or alike[0].level is Level.CRITICAL or not alike[0].has("sockets")):
                bad[id] = alike
        lasting = {id: alike for id, alike in bad.items() if id in self._before or id in self.alarming}
        lasting |= {id: alike for id, alike in self.alarming.items() if id not in bad and id in self._before}
        return LastingTrouble(mine, lasting, frozenset(bad))

    @property
    def counts(self) -> ListenerCounts:
        """What detection is told of it."""
        worst = next(iter(self.alarming.values()), ())
        return ListenerCounts(waiting=_sockets(worst), critical=bool(worst))

    def verdict(self, model: Model) -> Verdict:
        """The verdict on what is alarming."""
        return verdict_on(model, sorted((f for alike in self.alarming.values() for f in alike), key=lambda f: -f.level))

    def added(self, model: Model, verdict: Verdict) -> Verdict:
        """A verdict on half-open connections with what the last look found."""
        if not self.findings:
            return verdict
        return verdict_on(model, sorted((*verdict.findings, *self.findings), key=lambda f: -f.level))


def _sockets(alike: Iterable[Finding]) -> int:
    return sum(int(one.number("sockets")) for one in alike if one.has("sockets"))


def step(watcher: Watcher, counts: ListenerCounts, at_s: float, s: Sensitivity) -> tuple[Watcher, Judgement]:
    """Judge one reading by the last look: `critical` alone decides, at once, as two looks had it."""
    signal = Signal.SURE if counts.critical else Signal.CALM
    standing, told = advance(watcher.standing, at_s, signal, s.timing)
    fresh = told is StageTold.ALARM and watcher.standing.stage is AlarmStage.QUIET
    peak = counts.waiting if fresh else max(watcher.peak, counts.waiting)
    after = replace(watcher, standing=standing, began_s=at_s if fresh else watcher.began_s, peak=peak)
    return after, Judgement(signal, Because.CONNECTIONS if counts.critical else Because.NOTHING, told=told)
