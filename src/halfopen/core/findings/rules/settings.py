"""Settings that make it worse."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.cures import ChangeSetting
from halfopen.core.findings.evidence import FEW, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.tune.keys import COOKIES, IPV4, SYNACK
from halfopen.core.tune.settings import GOOD_RETRIES, needed


def _needed(e: Evidence) -> set[str]:
    held = {IPV4 + name: value for name, value in e.now.sample.settings.items()}
    return needed({**held, SYNACK: e.now.retries}, e.now.half_open >= FEW)


@rule("cookies-off", Level.NOTICE, Level.WARNING, doc="`tcp_syncookies` is 0")
def cookies_off(e: Evidence) -> Iterator[Hit]:
    if COOKIES in _needed(e):
        level = Level.WARNING if e.now.half_open >= FEW else Level.NOTICE
        cure = ChangeSetting(e.netns, COOKIES, 1)
        yield Hit(level, (Fact("tcp_syncookies", 0),), cures=((cure,),))


# A shorter release time drops those as well that answered and wait for room: they do not count.
@rule(
    "release-time-long",
    Level.NOTICE,
    needs=(Need.MANY,),
    doc="`tcp_synack_retries` is 5 or more and there are 50 or more",
)
def release_time_long(e: Evidence) -> Iterator[Hit]:
    if SYNACK in _needed(e):
        facts = Fact("release_time_s", e.now.release_time_s, unit="s"), Fact("tcp_synack_retries", e.now.retries)
        yield Hit(Level.NOTICE, facts, cures=((ChangeSetting(e.netns, SYNACK, GOOD_RETRIES),),))
