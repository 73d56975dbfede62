"""Fields of the guard's counters: in `protect --json`, `protect status` and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.sample.guard import PASSED, GuardCounts

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
}


def _counter(name: str, help: str) -> Field[GuardCounts]:
    get: Callable[[GuardCounts], Any] = lambda counts: getattr(counts, name)  # noqa: E731
    return Field(name, help, get, kind=Kind.COUNTER)


GUARD: Final[tuple[Field[GuardCounts], ...]] = (
    _counter("syns", "SYNs that came to ports of guarded listeners"),
    _counter("answered", "SYNs that the guard answered, keeping nothing of them"),
    _counter("accepted", "cookies of the guard that came back and became connections"),
    _counter("batched", "second packets of such connections in one batch, which the kernel takes by itself"),
    _counter("again", "cookies that came back once more: nothing had come of them the first time"),
    _counter("bad", "ACKs that fit neither a connection nor a cookie; an estimate, one in 16 is looked at"),
    _counter("accept_full", "ACKs dropped because the accept queue was full, as the kernel drops them"),
    _counter("refused", "cookies that the kernel did not take"),
    _counter("capped", "SYNs dropped because their prefix had had as many answers in that second as it may"),
    _counter("unusual", "packets of any port with IP options, fragments or VLAN tags, left to the kernel"),
    Field(
        "passed",
        "SYNs left to the kernel, by reason: " + "; ".join(f"`{why}`: {text}" for why, text in _PASSED_FOR.items()),
        lambda counts: dict(zip(PASSED, counts.passed, strict=True)),
        "object",
        kind=Kind.COUNTER,
    ),
)


def guard_counts(counts: GuardCounts) -> dict[str, Any]:
    """The JSON object of the counters."""
    return json_object(GUARD, counts)
