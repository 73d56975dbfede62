"""Advice on settings, in the language that is spoken.

`core.tune.settings` makes it of English clauses, which `tune` also writes into its journal; each has its pattern here,
and a test says when one is missing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from halfopen.present.findings.words import in_units
from halfopen.present.language import listed, tr
from halfopen.present.told import told

CLAUSES: Final = (
    # tcp_synack_retries
    "an unanswered half-open connection is released after {time}, sooner in a queue more than half full",
    "an unanswered half-open connection is released after {time}",
    "with tcp_syncookies = 2 none is kept at all",
    "released after {time} instead of {earlier}",
    "a client whose packets are lost for {time} must send its SYN again",
    # tcp_syncookies, tcp_max_syn_backlog
    "off: a full SYN queue drops every further SYN",
    "on: a full SYN queue answers with cookies and keeps nothing",
    "always: every SYN is answered with a cookie",
    "no half-open connection is kept",
    "new clients get in while the SYN queue is full",
    "window scaling and SACK while it is not",
    "clients without timestamps lose window scaling and SACK, only while the queue is full",
    "does nothing while tcp_syncookies = {n}",
    "tcp_syncookies = 0: with more than {n} half-open connections only proven peers get in",
    # somaxconn
    "each of a listener's two queues holds at most {n}, whatever its backlog",
    "listeners may hold {n} half-open connections",
    "running listeners keep their backlog until they call listen() again",
    # tcp_abort_on_overflow
    "off: with a full accept queue the client's last ACK is ignored, and it tries again",
    "on: with a full accept queue clients are reset",
    "a short burst then costs time instead of connections",
    "clients see a full accept queue as slowness",
    # tcp_syn_retries, tcp_rto_max_ms
    "outgoing connections are given up after {time}",
    "does nothing for incoming ones",
    "established connections retransmit at least every {time}",
    "does nothing for half-open ones, whose longest wait is {time}",
    "whether half-open ones do depends on the kernel: halfopen release-time --measure shows it",
)


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    made = []
    for clause in CLAUSES:
        literal = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[0-9a-z., ]+)", re.escape(clause))
        made.append((re.compile(literal), clause))
    return tuple(made)


def advised(text: str) -> str:
    """The clauses of a text, each as the language has it; one that nobody translated as it is."""
    clauses = [_clause(one) for one in text.split("; ")] if text else []
    # A clause of which none is a pattern here is one of a sentence that `told` knows.
    return told(text) if None in clauses else listed(list(filter(None, clauses)))


def _clause(text: str) -> str | None:
    for pattern, clause in _patterns():
        if (match := pattern.fullmatch(text)) is not None:
            return tr(clause, **{name: in_units(value) for name, value in match.groupdict().items()})
    return None
