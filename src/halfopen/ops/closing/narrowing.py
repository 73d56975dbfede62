"""The verdict on the connections that a filter selects. All connections decide it: that a pool is in use may show only
in connections that the filter leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Finding, Verdict
from halfopen.core.findings.judging import judged
from halfopen.core.model.closing import ClosingModel
from halfopen.core.sample import Sample
from halfopen.core.sample.closing import OpenSockets

# What a group of connections has in common: pid, state, signature, peer.
_Group = tuple[int, str, str, str]


def narrowed(sample: Sample, filter: ClosingFilter) -> Sample:
    """The Sample with only the connections that a filter selects; where none matches, with a note that says why."""
    sockets = sample.part(OpenSockets)
    if filter.empty or sockets is None:
        return sample
    whole, why = sample.completeness, filter.why_none(sockets)
    if why:
        whole = replace(whole, notes=(*whole.notes, why))
    return replace(sample.with_part(sockets.chosen(filter.mask(sockets))), completeness=whole)


def verdict_of(those: Evidence, everything: Evidence) -> Verdict:
    """The verdict on the connections of `those`, which are some of the connections of `everything`.

    The causes of a group are those that all of its connections show. Their numbers are those of the chosen connections,
    unless these are the whole group or do not show the cause by themselves. Findings about no group are those of the
    chosen connections.
    """
    alone, whole = judged(those, Need.CLOSING), judged(everything, Need.CLOSING)
    theirs = _groups(everything.closing)
    chosen = _groups(those.closing)
    by_group: dict[_Group, list[Finding]] = {}
    for one in whole.findings:
        if (group := _group_of(one)) in chosen:
            by_group.setdefault(group, []).append(one)
    found: list[Finding] = []
    for one in alone.findings:
        group = _group_of(one)
        if (
            group is None
            or group not in theirs
            or (chosen[group] != theirs[group] and one.id in {same.id for same in by_group.get(group, ())})
        ):
            found.append(one)
    ids = {(one.id, _group_of(one)) for one in found}
    found += [one for group, some in by_group.items() for one in some if (one.id, group) not in ids]
    return verdict_on(those.now, sorted(found, key=lambda one: -one.level))


def _groups(model: ClosingModel | None) -> dict[_Group, int]:
    """How many connections each group has."""
    groups: Iterable[tuple[_Group, int]] = (
        ((one.pid, one.state_name, one.signature.word, one.peer), one.count)
        for one in (() if model is None else model.groups)
    )
    return dict(groups)


def _group_of(finding: Finding) -> _Group | None:
    if not finding.has("signature"):
        return None
    pid = finding.count("pid") if finding.has("pid") else 0
    return pid, finding.text("socket_state"), finding.text("signature"), finding.text("peer")
