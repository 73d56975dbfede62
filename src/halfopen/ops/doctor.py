"""The checkup: what reading needs and what changing needs, tried in one go."""

from __future__ import annotations

import os
from typing import Final

from halfopen.change import destroy, nft_door
from halfopen.core.errors import HalfopenError
from halfopen.core.features import RELEASE, Checkup, Feature
from halfopen.linux import identity
from halfopen.ops.protect.trial import trial
from halfopen.read import bpf_features, features
from halfopen.read.tcp_settings import tcp_settings

# What is left where there is no guard, by tcp_syncookies.
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


def _protect() -> Feature:
    """Which way this host has to let clients in during a flood: the guard at tc, or the kernel's own cookies."""

    def work() -> str:
        try:
            trial()
        except HalfopenError as e:
            e.message = f"{e.message}; {_COOKIES[tcp_settings().cookies or 0]}"
            raise
        return "the guard at tc ingress, tried with one client"

    needs = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
    return features.tried("protect", "letting honest clients in during a flood", work, needs)


def examine() -> Checkup:
    """Try every feature, in the namespace and with the privileges of the calling thread. Nothing is left changed."""
    return Checkup(
        host=identity.host(),
        uid=os.geteuid(),
        user_namespace=features.in_user_namespace(),
        features=(
            *features.reading(),
            _release(),
            _table(),
            *features.others(),
            _protect(),
            *bpf_features.ebpf(PROGRAMS),
        ),
    )
