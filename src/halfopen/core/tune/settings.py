"""The settings that bear on half-open connections and the two queues: what each does, what it amounts to beside the
others, what it should be and at what cost. One function a setting, and one table with the values each takes.

`values` is always the settings a namespace has, by full name (net.ipv4.tcp_syncookies); one that is missing does not
exist there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from halfopen.core.model import timing
from halfopen.core.tune.goals import (
    AS_ASKED,
    COOKIE_WORDS,
    GOOD_BACKLOG,
    GOOD_RETRIES,
    NO_GOALS,
    Goals,
    Values,
    wanted_retries,
)
from halfopen.core.tune.keys import (
    ABORT,
    CONNTRACK,
    COOKIES,
    FIN_TIMEOUT,
    RTO_MAX,
    SOMAXCONN,
    SYN_BACKLOG,
    SYN_LINEAR,
    SYN_RETRIES,
    SYNACK,
    TW_REUSE,
)
from halfopen.core.tune.prices import memory_price, price
from halfopen.core.units import plural, show_duration

# With this many retries or more, half-open connections that pile up stay too long (63 s).
_LONG_RETRIES: Final = 5


class Advice(Struct, frozen=True):
    """The effect of one setting in this namespace.

    idle: it does nothing for half-open connections, or nothing at these other values; `effect` says so.
    recommended: the value it should have, None when there is nothing to change it for; with `reason` and `cost`.
    """

    key: str
    value: int
    effect: str
    idle: bool = False
    recommended: int | None = None
    reason: str = ""
    cost: str = ""


def _synack(values: Values, goals: Goals) -> Advice:
    now = values[SYNACK]
    effect = f"an unanswered half-open connection is released after {_release(now)}"
    if now > GOOD_RETRIES:
        effect += ", sooner in a queue more than half full"
    if values.get(COOKIES) == 2:
        effect += "; with tcp_syncookies = 2 none is kept at all"
    to = wanted_retries(goals)
    if to == now or (goals.release_time_s is None and now < to):
        return Advice(SYNACK, now, effect)
    return Advice(
        SYNACK,
        now,
        effect,
        recommended=to,
        reason=f"released after {_release(to)} instead of {_release(now)}",
        cost=price(SYNACK, to, values),
    )


def _release(retries: int) -> str:
    # With the fixed 120 s, not tcp_rto_max_ms, see _rto_max.
    return show_duration(timing.release_time_s(min(retries, 255)))


def _cookies(values: Values, goals: Goals) -> Advice:
    now = values[COOKIES]
    effect = {
        0: "off: a full SYN queue drops every further SYN",
        1: "on: a full SYN queue answers with cookies and keeps nothing",
    }.get(now, "always: every SYN is answered with a cookie; no half-open connection is kept")
    to = COOKIE_WORDS[goals.cookies] if goals.cookies else 1
    if to == now:
        return Advice(COOKIES, now, effect)
    reason = {
        0: AS_ASKED,
        1: "new clients get in while the SYN queue is full" if now == 0 else "window scaling and SACK while it is not",
        2: "no half-open connection is kept",
    }[to]
    return Advice(COOKIES, now, effect, recommended=to, reason=reason, cost=price(COOKIES, to, values))


def _syn_backlog(values: Values, goals: Goals) -> Advice:
    now = values[SYN_BACKLOG]
    cookies = values.get(COOKIES, 0)
    free = now - (now >> 2)
    if cookies:
        effect = f"does nothing while tcp_syncookies = {cookies}"
    else:
        effect = f"tcp_syncookies = 0: with more than {plural(free, 'half-open connection')} only proven peers get in"
    after = COOKIE_WORDS[goals.cookies] if goals.cookies and COOKIES in values else cookies
    if after or goals.half_open is None or free >= goals.half_open:
        return Advice(SYN_BACKLOG, now, effect, idle=cookies != 0)
    to = -(-goals.half_open * 4 // 3)
    reason = f"room for {goals.half_open:,} without cookies"
    return Advice(SYN_BACKLOG, now, effect, cookies != 0, to, reason, memory_price(goals.half_open))


def _somaxconn(values: Values, goals: Goals) -> Advice:
    now = values[SOMAXCONN]
    effect = f"each of a listener's two queues holds at most {now:,}, whatever its backlog"
    least = goals.half_open or GOOD_BACKLOG
    if now >= least:
        return Advice(SOMAXCONN, now, effect)
    cost = price(SOMAXCONN, least, values)
    if goals.half_open:
        cost = f"{memory_price(goals.half_open)}; {cost}"
    return Advice(SOMAXCONN, now, effect, False, least, f"listeners may hold {least:,} half-open connections", cost)


def _abort(values: Values, _: Goals) -> Advice:
    now = values[ABORT]
    if not now:
        return Advice(ABORT, now, "off: with a full accept queue the client's last ACK is ignored, and it tries again")
    reason = "a short burst then costs time instead of connections"
    effect = "on: with a full accept queue clients are reset"
    return Advice(ABORT, now, effect, False, 0, reason, price(ABORT, 0, values))


def _syn_retries(values: Values, _: Goals) -> Advice:
    now = values[SYN_RETRIES]
    # As many waits of 1 s come first, then they double (tcp_write_timeout(), net/ipv4/tcp_timer.c; since 6.5).
    given_up = show_duration(values.get(SYN_LINEAR, 0) + timing.release_time_s(min(now, 255)))
    effect = f"outgoing connections are given up after {given_up}; does nothing for incoming ones"
    return Advice(SYN_RETRIES, now, effect, idle=True)


def _fin_timeout(values: Values, _: Goals) -> Advice:
    now = values[FIN_TIMEOUT]
    effect = f"FIN_WAIT_2 without an owner ends after {show_duration(now)}; does nothing for half-open connections"
    return Advice(FIN_TIMEOUT, now, effect, idle=True)


def _tw_reuse(values: Values, _: Goals) -> Advice:
    now = values[TW_REUSE]
    words = {0: "off", 1: "on", 2: "on for loopback"}.get(now, "on")
    effect = f"{words}: ports of outgoing connections in TIME_WAIT; does nothing for half-open connections"
    return Advice(TW_REUSE, now, effect, idle=True)


def _rto_max(values: Values, _: Goals) -> Advice:
    now, retries = values[RTO_MAX], min(values.get(SYNACK, 0), 255)
    effect = f"established connections retransmit at least every {show_duration(now / 1000)}"
    longest_s = timing.timeout_s(retries)
    if now >= longest_s * 1000:
        words = f"does nothing for half-open ones, whose longest wait is {show_duration(longest_s)}"
        return Advice(RTO_MAX, now, f"{effect}; {words}", idle=True)
    # 6.18 does not (measured); "tcp: Apply max RTO to non-TFO SYN+ACK" (November 2025) does. Nothing but a measurement
    # tells, which takes seconds.
    words = "whether half-open ones do depends on the kernel: halfopen release-time --measure shows it"
    return Advice(RTO_MAX, now, f"{effect}; {words}")


_MOST: Final = 2**31 - 1
# proc_dointvec_jiffies() multiplies by HZ: what a kernel of 1000 HZ takes, every kernel does.
_MOST_S: Final = _MOST // 1000


class _Setting(Struct, frozen=True):
    """The advice function of a setting, and the smallest and the largest value that it takes."""

    advise: Callable[[Values, Goals], Advice]
    least: int
    most: int


# The values that ipv4_net_table (net/ipv4/sysctl_net_ipv4.c), netns_core_table (net/core/sysctl_net_core.c) and
# nf_ct_sysctl_table (net/netfilter/nf_conntrack_standalone.c) take, where they mean something: the kernel also takes
# tcp_syncookies from 3 to 255, which acts as 1, and negative sizes and times.
_OURS: Final = {
    SYNACK: _Setting(_synack, 0, 255),
    COOKIES: _Setting(_cookies, 0, 2),
    SOMAXCONN: _Setting(_somaxconn, 0, _MOST),
    SYN_BACKLOG: _Setting(_syn_backlog, 0, _MOST),
    ABORT: _Setting(_abort, 0, 255),
    RTO_MAX: _Setting(_rto_max, 1000, 120_000),
    SYN_RETRIES: _Setting(_syn_retries, 1, 127),
    FIN_TIMEOUT: _Setting(_fin_timeout, 0, _MOST_S),
    TW_REUSE: _Setting(_tw_reuse, 0, 2),
}


def range_of(key: str) -> tuple[int, int]:
    """The smallest and the largest value that a setting takes."""
    setting = _OURS.get(key)
    return (setting.least, setting.most) if setting else (0, _MOST_S)


_CONNTRACK_STATES: Final = {
    "syn_sent": "after a client's SYN",
    "syn_recv": "of a half-open connection (SYN-ACK seen, no ACK)",
    "established": "of a connection without traffic",
    "fin_wait": "after the first FIN",
    "close_wait": "after the other side's FIN",
    "last_ack": "after the second FIN",
    "time_wait": "after both FINs",
    "close": "after a RST",
    "max_retrans": "after retransmissions without an answer",
    "unacknowledged": "with unacknowledged data",
}
KEYS: Final = (*_OURS, *(CONNTRACK + state for state in _CONNTRACK_STATES))


def _conntrack(key: str, values: Values) -> Advice:
    now = values[key]
    what = _CONNTRACK_STATES[key.removeprefix(CONNTRACK)]
    duration = show_duration(now)
    effect = f"conntrack forgets an entry {what} {duration} later"
    if not key.endswith("syn_recv"):
        return Advice(key, now, f"{effect}; does nothing for half-open connections", idle=True)
    return Advice(key, now, f"{effect}; the socket itself stays as long as tcp_synack_retries says", idle=True)


def advise(values: Values, goals: Goals = NO_GOALS) -> list[Advice]:
    """Advice on every setting that exists, for the goals (without one: in general).

    Raises: UsageError for a goal that no setting can reach.
    """
    found = [setting.advise(values, goals) for key, setting in _OURS.items() if key in values]
    return found + [_conntrack(key, values) for key in KEYS if key.startswith(CONNTRACK) and key in values]


def needed(values: Values, many: bool) -> set[str]:
    """The settings that should change as things are; others may be better changed before a flood than in it.

    many: half-open connections pile up. `status` and `tune show` both go by this.
    """
    found = {COOKIES} if values.get(COOKIES) == 0 else set()
    if many and values.get(SYNACK, 0) >= _LONG_RETRIES:
        found.add(SYNACK)
    return found
