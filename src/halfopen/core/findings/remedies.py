"""Cures that several rules propose."""

from __future__ import annotations

from typing import Final

from halfopen.core.filters import Filter
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.lasting import SLOW_S
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.sample.guard import Guards
from halfopen.core.tune.goals import GOOD_BACKLOG, GOOD_RETRIES
from halfopen.core.tune.keys import BACKLOG, COOKIES, SOMAXCONN, SYN_BACKLOG, SYNACK
from halfopen.core.units import endpoint, listener_text, prefix
from halfopen.core.where import Namespace

# A look for longer tells no more than one that took this many seconds.
_LONG_LOOK_S: Final = 4.5
# How long a proposed guard stays, unless it is told otherwise.
_PROTECTED_S: Final = 600.0


def release(
    where: Namespace, reason: str, *, view: ListenerView | None = None, source: str | None = None
) -> tuple[Release, ...]:
    """The cure that releases the half-open connections older than SLOW_S of a listener or from a source prefix."""
    listeners = () if view is None else (endpoint(listener_text(view.address, view.port)),)
    sources = () if source is None else (prefix(source),)
    return (Release(where, Filter(SLOW_S, None, listeners, sources), reason),)


def longer_queues(e: Evidence, view: ListenerView, reason: str, least: int = 0) -> tuple[Cure, ...]:
    """Longer queues for a listener, of `least` places at least; first, the command that removes what limits them."""
    if view.accept_queue_limit is None:
        return ()
    if view.syn_queue_limit is not None and view.syn_queue_limit < view.accept_queue_limit:
        # Cookies are off, and it is tcp_max_syn_backlog that is full.
        room = max(GOOD_BACKLOG, 2 * view.syn_queue_limit)
        return ((ChangeSetting(e.netns, SYN_BACKLOG, room, reason),),)
    backlog = max(GOOD_BACKLOG, least, 2 * (view.accept_queue_limit // view.members))
    change = ChangeListener(e.netns, view.address, view.port, BACKLOG, backlog, reason)
    if e.now.sample.settings.get("somaxconn", backlog) < backlog:
        return ((ChangeSetting(e.netns, SOMAXCONN, backlog, reason), change),)
    return ((change,),)


def protect(e: Evidence, view: ListenerView | None, reason: str) -> tuple[Cure, ...]:
    """The guard for a listener (None: for all), where this host can arm one, none is armed, and cookies are on, which
    it needs."""
    guards = e.now.sample.part(Guards)
    if guards is None or not guards.possible or guards.found or e.cookies == 0:
        return ()
    places = () if view is None else (endpoint(listener_text(view.address, view.port)),)
    return ((Protect(e.now.sample.where, places, reason, for_s=_PROTECTED_S),),)


def cookies_on(e: Evidence, reason: str) -> tuple[Cure, ...]:
    """SYN cookies on, where they are off."""
    return ((ChangeSetting(e.netns, COOKIES, 1, reason),),) if e.cookies == 0 else ()


def shorter_release_time(e: Evidence, reason: str) -> tuple[Cure, ...]:
    """A shorter release time, where it is longer than what is recommended."""
    if e.now.retries <= GOOD_RETRIES:
        return ()
    return ((ChangeSetting(e.netns, SYNACK, GOOD_RETRIES, reason),),)


def look_closer(e: Evidence, reason: str) -> tuple[Cure, ...]:
    """Look for longer; where that was done, watch handshakes, which tells how many finish and after how long."""
    looked = e.rates and e.interval_s >= _LONG_LOOK_S
    return ((Look(e.netns, "handshakes --for 30s" if looked else "diagnose --for 10s", reason),),)
