"""The checkup of `doctor`: tries everything that reading and changing need."""

from __future__ import annotations

import os
from typing import Final

from halfopen.change import destroy, nft_door
from halfopen.core.errors import CannotGuard, HalfopenError, Unsupported
from halfopen.core.features import RELEASE, Checkup, Feature
from halfopen.core.sample.guard import FIRST_SYN, GEN_COOKIE, TC, XDP
from halfopen.linux import identity, proc
from halfopen.ops.protect import fronts, space
from halfopen.ops.protect.trial import trial
from halfopen.read import bpf_features, features
from halfopen.read.tcp_settings import tcp_settings

# The rungs below the guard at tc, the best first.
_LOWER: Final = (
    (GEN_COOKIE, "the kernel's cookies, made in front of the kernel"),
    (FIRST_SYN, "the second SYN of each client, at the price of 1 s (only with --rung first-syn)"),
)
# The protection that is left without a guard, by the value of tcp_syncookies.
_COOKIES: Final = {
    0: "SYN cookies are off, too (halfopen tune apply --cookies on)",
    1: "the kernel's own SYN cookies are left (tcp_syncookies = 1)",
    2: "the kernel's own SYN cookies are left (tcp_syncookies = 2)",
}

PROGRAMS: Final = (
    *bpf_features.PROGRAMS,
    bpf_features.BpfProgram(
        "door",
        "halfopen.change.door:Door",
        "releases that never reset a completed connection",
        needs=("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"),
        since=bpf_features.CGROUP_LINK,
    ),
    bpf_features.BpfProgram(
        "guard",
        "halfopen.change.guard:Guard",
        "the guard of protect",
        needs=("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"),
    ),
    bpf_features.BpfProgram(
        "closers",
        "halfopen.change.closers:Closers",
        "closing keepalive, probe and destroy, each connection under its own lock",
        since=(6, 5),  # commit 4ddbcb886268 ("bpf: Add bpf_sock_destroy kfunc")
    ),
)


def _release() -> Feature:
    def work() -> str:
        with destroy.open_socket() as s:
            destroy.probe(s)
        return ""

    return features.tried(RELEASE, "dropping half-open connections (SOCK_DESTROY)", work, ("CAP_NET_ADMIN",))


def _table() -> Feature:
    def work() -> str:
        nft_door.try_out()
        return ""

    return features.tried(
        "nf_tables", "the door of a release by nf_tables, where eBPF cannot hold it", work, ("CAP_NET_ADMIN",)
    )


_OF_TC: Final = "rung tc: the guard at tc ingress, tried with one client"


def _protect() -> Feature:
    """The best rung of the guard that lets a test client in on this host; else what is missing, and what is left."""

    def work() -> str:
        try:
            trial(TC)
        except (CannotGuard, Unsupported) as e:
            return _lower(e)
        return f"{_OF_TC}; {_front()}"

    needs = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
    return features.tried("protect", "letting honest clients in during a flood", work, needs)


def _front() -> str:
    """Whether the driver can take a front as well."""
    try:
        devices = fronts.of(space.look())
        trial(XDP)
    except HalfopenError as e:
        return f"rung xdp: {e.message}"
    names = ", ".join(device.name for device in devices)
    return f"rung xdp: a front in the driver of {names} (only with --rung xdp)"


def _lower(best: HalfopenError) -> str:
    """The best lower rung that works, and what is missing for rung tc. Raises: `best`, where only the kernel's own SYN
    cookies are left.
    """
    for rung, words in _LOWER:
        try:
            trial(rung)
        except HalfopenError:
            continue
        return f"rung {rung}: {words}, tried with one client; missing for rung tc: {best.message}"
    best.message = f"{best.message}; {_COOKIES[tcp_settings().cookies or 0]}"
    raise best


def examine() -> Checkup:
    """Try every feature, in the namespace and with the privileges of the calling thread. Nothing is left changed."""
    return Checkup(
        host=identity.host(),
        uid=os.geteuid(),
        user_namespace=bool(proc.in_user_namespace()),
        features=(
            *features.reading(),
            _release(),
            _table(),
            *features.others(),
            _protect(),
            *bpf_features.ebpf(PROGRAMS),
        ),
    )
