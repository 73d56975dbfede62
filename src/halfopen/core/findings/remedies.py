"""Cures that several rules propose: a release that spares the young, and longer queues."""

from __future__ import annotations

from halfopen.core.filters import Filter
from halfopen.core.findings.cures import ChangeListener, ChangeSetting, Cure
from halfopen.core.findings.evidence import SLOW_S, Evidence
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import Release
from halfopen.core.tune.keys import SOMAXCONN, SYN_BACKLOG
from halfopen.core.tune.settings import GOOD_BACKLOG
from halfopen.core.units import endpoint, listener_text, prefix
from halfopen.core.where import Namespace


def release(
    where: Namespace, reason: str, *, view: ListenerView | None = None, source: str | None = None
) -> tuple[Release, ...]:
    """The cure that releases the half-open connections older than SLOW_S of a listener or from a source prefix."""
    listeners = () if view is None else (endpoint(listener_text(view.address, view.port)),)
    sources = () if source is None else (prefix(source),)
    return (Release(where, Filter(SLOW_S, None, listeners, sources), reason),)


def longer_queues(e: Evidence, view: ListenerView) -> tuple[Cure, ...]:
    """Longer queues for a listener; first of all what is in the way of them."""
    if not view.accept_queue_limit:
        return ()
    if view.syn_queue_limit is not None and view.syn_queue_limit < view.accept_queue_limit:
        # Cookies are off, and it is tcp_max_syn_backlog that is full.
        return ((ChangeSetting(e.netns, SYN_BACKLOG, max(GOOD_BACKLOG, 2 * view.syn_queue_limit)),),)
    backlog = max(GOOD_BACKLOG, 2 * (view.accept_queue_limit // view.members))
    change = ChangeListener(e.netns, view.address, view.port, backlog=backlog)
    if e.now.sample.settings.get("somaxconn", backlog) < backlog:
        return ((ChangeSetting(e.netns, SOMAXCONN, backlog), change),)
    return ((change,),)
