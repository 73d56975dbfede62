"""The content of `tune show`: settings, supposed cures that do nothing, listeners, and what should be changed now."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.verdict import judge
from halfopen.core.model.columns import Builder
from halfopen.core.model.model import Model, build
from halfopen.core.tune import false_cures, keys, settings, wanted_settings
from halfopen.core.tune.goals import Goals, Values, serving
from halfopen.core.tune.settings import Advice
from halfopen.core.tune.shown import Shown
from halfopen.linux.netns import Netns
from halfopen.ops.looks import looks
from halfopen.ops.tune.listening import listeners
from halfopen.ops.tune.values import look
from halfopen.read import reader, requests


def settings_shown(ns: Netns, goals: Goals) -> Shown:
    """The settings to show. Raises: Unsupported if the setting of a goal does not exist, UnknownTarget,
    NotPermitted.
    """
    values, unread = look(ns, [*settings.KEYS, keys.SYN_LINEAR, *(c.key for c in false_cures.FALSE_CURES)])
    wanted_settings.must_be_there({**values, **dict.fromkeys(unread, 0)}, goals)
    advices = settings.advise(values, goals)
    if not goals.empty:
        advices = [_serving(a, goals) for a in advices]
    cures = [(cure, values.get(cure.key)) for cure in false_cures.FALSE_CURES if cure.key not in unread]
    found, now, needed = [], None, None
    try:
        found = listeners(ns, values)
    except HalfopenError as e:
        unread["listeners"] = e
    if goals.empty:
        now, needed = _needed(ns, values, unread)
    somaxconn = values.get(keys.SOMAXCONN)
    return Shown(ns.name, ns.inode, advices, cures, found, somaxconn, needed, now, unread)


def _needed(ns: Netns, values: Values, unread: dict[str, HalfopenError]) -> tuple[int | None, frozenset[str]]:
    """The number of half-open connections, and the settings that should be changed now, as `status` judges."""
    try:
        [seen] = looks(lambda: [_model(ns)])
    except HalfopenError as e:
        unread["half_open"] = e
        return None, frozenset(settings.needed(values, many=False))
    found = judge(seen.now, seen.before, seen.interval_s).findings
    many = any(finding.id == "release-time-long" for finding in found)
    return seen.now.half_open, frozenset(settings.needed(values, many))


def _model(ns: Netns) -> Model:
    """The Model of the namespace. Raises: as `reader.read`."""
    builder = Builder()
    sample = reader.read(ns, [requests.probe(builder)], with_owners=False)
    return build(sample, columns=builder.take())


def _serving(advice: Advice, goals: Goals) -> Advice:
    if advice.key in serving(goals):
        return advice
    return replace(advice, recommended=None, reason="", cost="")
