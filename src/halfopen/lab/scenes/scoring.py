"""Scores a verdict by measurements in the scene, independently of the rules that made it. Pure."""

from __future__ import annotations

import ipaddress
import itertools
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, field

from halfopen.core.errors import UsageError
from halfopen.core.units import duration_s
from halfopen.lab.scenes.truth import Truth

# The ids that name causes. Other ids are effects, notes on the reading, or unknown here.
CAUSES: Final = frozenset(
    {
        *("spoofed-flood", "few-sources-flood", "prefix-flood", "acked-flood", "scan", "slow-path", "synacks-lost"),
        *("acks-lost", "synacks-unsent", "no-route-back"),
        *("app-not-accepting", "member-not-accepting", "backlog-small", "somaxconn-clamp", "cookies-off"),
        *("syn-backlog-reserve", "cookies-always", "release-time-long", "release-time-short", "deferred-accept"),
        *(
            "timewait-reopen",
            "abort-on-overflow",
            "conntrack-full",
            "reverse-path-filter",
            "nic-drops",
            "health-checks",
        ),
    }
)
HOSTILE: Final = frozenset({"spoofed-flood", "few-sources-flood", "prefix-flood", "acked-flood", "scan"})
# Ids that are never wrong, whatever is true.
NEUTRAL: Final = frozenset({"cannot-tell", "not-shown", "incomplete-reading", "may-have-answered", "answered"})
_BAD: Final = frozenset({"warning", "critical"})
_PREFIX: Final = re.compile(r"(?<![\w.:])(?:\d+(?:\.\d+){3}|[0-9a-f]*:[0-9a-f:]+:[0-9a-f:]*)(?:/\d+)?(?![\w.:])")
# A guard (`protect`) is not destructive: clients get in through it.
_DESTRUCTIVE: Final = ("release", "block", "close")


class Score(Struct):
    """One play. right: the right cause came first (of two scenes: each among the first two), or nothing was wrong and
    nothing was said. The lists hold what was untrue, who was accused, and the commands that would harm. silent:
    something is wrong and nothing was said; cannot: "cannot tell yet" came first.
    """

    right: bool
    first: str
    untrue: list[str] = field(default_factory=list)
    accused: list[str] = field(default_factory=list)
    harmful: list[str] = field(default_factory=list)
    silent: bool = False
    cannot: bool = False


def means(id: str) -> frozenset[str]:
    """The causes that a finding of this id names."""
    return frozenset({id}) & CAUSES


def score(truth: Truth, wanted: list[tuple[str, ...]], verdict: dict[str, Any]) -> Score:
    """Score a verdict (`level`, `reasons`, `next`) on a scene; `wanted` has the right causes of each scene in it."""
    reasons = verdict["reasons"]
    causes = [r for r in reasons if means(r["id"])]
    made = Score(_right(wanted, causes, reasons), reasons[0]["id"] if reasons else "-")
    made.untrue = [r["id"] for r in reasons if not _true(truth, r["id"])]
    made.accused = [r["id"] for r in reasons if _accuses(truth, r)]
    commands = [*verdict["next"], *(c for r in reasons for c in _cures(r))]
    made.harmful = [c for c in dict.fromkeys(commands) if harms(truth, c)]
    asked = [one for one in wanted if one]
    made.silent = bool(asked) and not reasons
    made.cannot = bool(reasons) and reasons[0]["id"] == "cannot-tell"
    return made


def _cures(reason: dict[str, Any]) -> list[str]:
    """The commands that a reason carries, as text, whatever its shape."""
    found = [reason.get("command"), *reason.get("cures", []), *reason.get("commands", [])]
    return [c["command"] if isinstance(c, dict) else c for c in found if c]


def _right(wanted: list[tuple[str, ...]], causes: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> bool:
    asked = [set(one) for one in wanted if one]
    if not asked:
        return not causes and not any(r["level"] in _BAD for r in reasons)
    # A note on the reading explains nothing and may come anywhere; an effect that comes first hides the cause.
    named = [means(r["id"]) for r in reasons if r["id"] not in NEUTRAL or means(r["id"])]
    if len(asked) == 1:
        return bool(named) and bool(named[0] & asked[0])
    return all(any(one & two for two in named[:2]) for one in asked)


def _true(truth: Truth, id: str) -> bool:
    """Whether the finding is true of the scene, by what was measured there."""
    right = means(id) & {*truth.causes, *truth.also}
    if id in NEUTRAL or right:
        return True
    drops = truth.counters.get("ListenDrops", 0)
    measured = {
        "cookies-off": truth.settings.get("tcp_syncookies") == "0" and drops > 0,
        "cookies-always": truth.settings.get("tcp_syncookies") == "2",
        "abort-on-overflow": truth.settings.get("tcp_abort_on_overflow") == "1",
        # No client is behind the connections that stay: the default is too long for them.
        "release-time-long": nobody_there(truth) and truth.half_open > 0,
        "handshakes-finish": any(stream.honest and stream.connected for stream in truth.streams),
    }
    return measured.get(id, id not in CAUSES)


def nobody_there(truth: Truth) -> bool:
    """Whether some half-open connections have no client that will ever answer."""
    return truth.hostile or any(not stream.honest for stream in truth.streams)


def _accuses(truth: Truth, reason: dict[str, Any]) -> bool:
    """Whether the finding calls traffic hostile although none is, or calls a source silent that completes
    handshakes.
    """
    if not means(reason["id"]) & HOSTILE:
        return False
    if not truth.hostile:
        return True
    return any(_completes(truth, prefix) for prefix in _PREFIX.findall(reason["text"]))


def _completes(truth: Truth, prefix: str) -> bool:
    try:
        asked = ipaddress.ip_network(prefix, strict=False)
    except ValueError:
        return False
    silent = [ipaddress.ip_network(p) for one in truth.silent for p in one.prefixes]
    if any(asked.version == net.version and asked.overlaps(net) for net in silent):
        return False
    return truth.completes(prefix) > 0


# Facts whose name differs from that of the counter that they are read from.
_OF: Final = {
    "completions": "PassiveOpens",
    "cookies_unanswered": "SyncookiesSent",
    "overflows": "ListenOverflows",
    "dropped_syns": "ListenDrops",
    "drops": "ListenDrops",
    "timeouts": "TCPTimeouts",
    "finished": "PassiveOpens",
    "late": "PassiveOpens",
    "without_timestamps": "PassiveOpens",
}
_BETWEEN: Final = frozenset({"finished", "late", "without_timestamps"})
# Two looks are half a second apart, or more.
_INTERVAL_S: Final = 0.45


def contradicted(before: Mapping[str, int], after: Mapping[str, int], verdict: dict[str, Any]) -> list[str]:
    """The facts of a verdict that contradict the kernel's counters, which were read before and after it.

    A total lies between the two, a rate or a count between two looks is no more than the counter moved.
    """
    wrong = []
    for reason in verdict["reasons"]:
        for fact in reason["facts"]:
            name, value = fact["name"], fact["value"]
            base = name.removesuffix("_per_s")
            counter = base if base in after else _OF.get(base)
            if counter is None or counter not in after or isinstance(value, str):
                continue
            least, most = before.get(counter, 0), after[counter]
            if name.endswith("_per_s"):
                good = 0 <= value * _INTERVAL_S <= most - least + 1
            elif name in _BETWEEN:
                good = 0 <= value <= most - least
            elif name == counter:
                good = least <= value <= most
            else:
                good = 0 <= value <= most
            if not good:
                wrong.append(f"{reason['id']}: {name} {value:g}, {counter} {least} to {most}")
    return wrong


def harms(truth: Truth, command: str) -> bool:
    """Whether a command would harm clients that complete: it names such a source, or takes connections of any age."""
    words = shlex.split(command)
    if words[:1] != ["halfopen"] or not set(words[1:2]) & set(_DESTRUCTIVE) or "--dry-run" in words:
        return False
    given = dict(itertools.pairwise(words))
    if words[1] == "block":
        return any(truth.completes(word) > 0 for word in words[2:] if _PREFIX.fullmatch(word))
    if "--source" in given:
        return truth.completes(given["--source"]) > 0
    if not nobody_there(truth):
        return True
    try:
        older_s = duration_s(given["--older-than"], what="--older-than") if "--older-than" in given else 0.0
    except UsageError:
        older_s = 0.0
    port = given.get("--listener", "").rpartition(":")[2]
    there = [one for one in truth.streams if not port or str(one.port) == port]
    slowest = max((one.max_s for one in there if one.honest and one.connected), default=0.0)
    return bool(slowest) and older_s <= slowest
