"""Fields of the guard's counters: in `protect --json`, `protect status` and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.sample.guard import PASSED, FoundGuard, GuardCounts, Guards

_PASSED_FOR: Final = {
    "room": "the SYN queue had room",
    "stopped": "the guard did not answer any more",
    "not_listening": "no listener had these addresses and ports",
    "other_listener": "the listener was not guarded",
    "foreign": "the address was not one of this host, or the source cannot be one",
    "mptcp": "the listener speaks MPTCP",
    "accept_queue_full": "the accept queue was full",
    "signed": "TCP-MD5 or TCP-AO",
    "broken": "the header or its options could not be read",
    "failed": "the answer could not be written",
    "second": "the SYN had come before (rung `first-syn`)",
}


def _counter(name: str, help: str) -> Field[GuardCounts]:
    get: Callable[[GuardCounts], Any] = lambda counts: getattr(counts, name)  # noqa: E731
    return Field(name, help, get, kind=Kind.COUNTER)


GUARD: Final[tuple[Field[GuardCounts], ...]] = (
    _counter("syns", "SYNs that came to ports of guarded listeners"),
    _counter("answered", "SYNs that the guard answered, keeping nothing of them"),
    _counter("accepted", "cookies of the guard that came back and became connections"),
    _counter("batched", "second packets of such connections in one batch, which the kernel handles itself"),
    _counter("again", "cookies that came back again, as no connection was made the first time"),
    _counter("bad", "ACKs that match neither a connection nor a cookie; an estimate from one in 16"),
    _counter("accept_full", "ACKs dropped because the accept queue was full, as the kernel drops them"),
    _counter("refused", "cookies that the kernel did not take"),
    _counter("capped", "SYNs dropped because their prefix had reached its limit of answers in that second"),
    _counter("unusual", "packets of any port with IP options, fragments or VLAN tags, left to the kernel"),
    _counter("fronted", "SYNs of those answered that the front in the driver answered (rung `xdp`)"),
    _counter("held", "SYNs dropped because they were the first of their connection (rung `first-syn`)"),
    Field(
        "passed",
        "SYNs left to the kernel, by reason: " + "; ".join(f"`{why}`: {text}" for why, text in _PASSED_FOR.items()),
        lambda counts: dict(zip(PASSED, counts.passed, strict=True)),
        "object",
        kind=Kind.COUNTER,
    ),
)


ARMED: Final[tuple[Field[FoundGuard], ...]] = (
    Field("devices", "how many devices the guard is on", lambda one: len(one.devices)),
    Field("answers", "whether the guard answers SYNs, or is being taken off", lambda one: one.answers, "boolean"),
    Field("share", "the share of a SYN queue from which the guard answers", lambda one: round(one.share, 4)),
    Field("rung", "`tc`, `xdp`, `gen-cookie` or `first-syn`", lambda one: one.rung, "string"),
    Field("by_policy", "the policy `[protect]` of a watch armed the guard", lambda one: one.by_policy, "boolean"),
    Field("counts", "counted since it was armed, see below", lambda one: guard_counts(one.counts), "object"),
)


def guard_counts(counts: GuardCounts) -> dict[str, Any]:
    """The JSON object of the counters."""
    return json_object(GUARD, counts)


def armed(guards: Guards | None) -> list[dict[str, Any]] | None:
    """The JSON array of the guards that are armed in a namespace; None where nobody looked."""
    return None if guards is None else [json_object(ARMED, one) for one in guards.found]
