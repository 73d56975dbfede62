"""Settings that cost clients whatever the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import Cure, LookAtPackets
from halfopen.core.findings.evidence import FEW, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.floods import MOST, floods
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import look_closer, shorter_release_time
from halfopen.core.findings.rules.flood import is_flood
from halfopen.core.findings.sources import SOME
from halfopen.core.findings.unfollowed import sources_again
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES, ListenerView
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.tune.goals import GOOD_RETRIES
from halfopen.core.tune.keys import COOKIES, RETRIES, SYNACK

# Of the handshakes that time out: as many RSTs answer ACKs that come too late. A server that closes on unread data
# sends some as well.
_LATE = 0.1


@rule(
    "release-time-long",
    Level.NOTICE,
    needs=(Need.RATES, Need.LASTING),
    title="the release time is long",
    doc="in a flood, while `tcp_synack_retries` is 5 or more; without a flood, if it is more than "
    "the default of 5 and unanswered connections last",
    unless="it is 5 or less and there is no flood: the default then harms nobody",
    advice="a release time of 7 s",
    rare=True,
)
def release_time_long(e: Evidence) -> Iterator[Hit]:
    retries, silent = e.now.retries, e.lasting.count - e.lasting.repeated
    lasts = any(one.silent.count for one in floods(e))
    if (lasts and retries >= DEFAULT_SYNACK_RETRIES) or (retries > DEFAULT_SYNACK_RETRIES and silent >= SOME):
        facts = [Fact("release_time_s", e.now.release_time_s, unit="s"), Fact("tcp_synack_retries", e.now.retries)]
        view = e.lasting_by_listener[0][0] if e.lasting_by_listener else None
        if view is not None and view.effective_release_time_s < e.now.release_time_s:
            facts.append(Fact("effective_release_time_s", view.effective_release_time_s, unit="s"))
        yield Hit(Level.NOTICE, tuple(facts), cures=shorter_release_time(e, "release-time-long"))


@rule(
    "release-time-short",
    Level.NOTICE,
    Level.WARNING,
    title="the release time is too short",
    doc="a listener sends a single SYN-ACK (0 retries); a warning while handshakes time out and ACKs "
    "come too late, which the kernel answers with an RST (`OutRsts`)",
    unless="the SYN-ACK is retransmitted at least once",
    advice="a release time of 7 s; if handshakes time out and hardly any RST is sent, look for a flood first",
    rare=True,
)
def release_time_short(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        if view.retries == 0:
            given_up = e.rate("TCPTimeouts")
            late = min(given_up, e.rate("OutRsts")) if view.half_open else 0.0
            hurt = late > 0 and late >= _LATE * given_up
            facts = (
                Fact("release_time_s", view.release_time_s, unit="s"),
                Fact("timeouts_per_s", round(given_up, 1), unit="per_s"),
            )
            cures = _more_retries(e, view) if hurt or given_up < SOME else look_closer(e, "release-time-short")
            level, costs = (Level.WARNING, late) if hurt else (Level.NOTICE, 0.0)
            yield Hit(level, facts, view, cures=() if is_flood(e) else cures, costs_per_s=costs)
            if not view.overridden:
                return


def _more_retries(e: Evidence, view: ListenerView) -> tuple[Cure, ...]:
    if view.overridden:
        change = ChangeListener(e.netns, view.address, view.port, RETRIES, GOOD_RETRIES, "release-time-short")
        return ((change,),)
    return ((ChangeSetting(e.netns, SYNACK, GOOD_RETRIES, "release-time-short"),),)


@rule(
    "cookies-always",
    Level.NOTICE,
    Level.WARNING,
    title="every SYN is answered by a cookie",
    doc="`tcp_syncookies` is 2; eBPF counts how many handshakes finish without TCP timestamps: for "
    "those a cookie keeps neither window scaling nor SACK. If most cookies do not come back, a "
    "flood looks the same without eBPF as clients that receive no SYN-ACK, and no cause is named: a warning",
    unless="it is 0 or 1",
    advice="`halfopen tune apply --cookies on`: cookies only when a queue is full",
    rare=True,
)
def cookies_always(e: Evidence) -> Iterator[Hit]:
    if e.cookies == 2:
        facts = [Fact("SyncookiesSent", e.total("SyncookiesSent")), Fact("SyncookiesRecv", e.total("SyncookiesRecv"))]
        if e.now.arrived is not None and e.now.arrived.all.finished:
            flow = e.now.arrived.all
            facts += [Fact("finished", flow.finished), Fact("without_timestamps", flow.no_timestamps)]
        cures: tuple[Cure, ...] = ((ChangeSetting(e.netns, COOKIES, 1, "cookies-always"),),)
        lost = e.cookies_unanswered_per_s
        level = Level.NOTICE
        if lost >= max(FEW, MOST * e.rate("SyncookiesSent")) and not is_flood(e):
            # A flood or an outage: either is one.
            level = Level.WARNING
            # No request is left behind that would tell whose they are.
            facts += [Fact(f"{name}_per_s", round(e.rate(name), 1), unit="per_s") for name in _BY_COOKIE]
            again = sources_again(e)
            if again:
                facts.append(Fact("sources_again", again))
            closer = ((LookAtPackets(e.netns, "", None, "cookies-always"),),) if again else ()
            cures = (*(closer or look_closer(e, "cookies-always")), *cures)
        yield Hit(level, tuple(facts), cures=cures)


_BY_COOKIE: Final = ("SyncookiesSent", "SyncookiesRecv")
