"""The checkup: what reading needs and what changing needs, tried in one go."""

from __future__ import annotations

import os
from typing import Final

from halfopen.change import destroy, nft_door
from halfopen.core.features import RELEASE, Checkup, Feature
from halfopen.linux import identity
from halfopen.read import bpf_features, features

PROGRAMS: Final = (
    *bpf_features.PROGRAMS,
    bpf_features.BpfProgram(
        "door",
        "halfopen.change.door:Door",
        "releases that never reset a completed connection",
        needs=("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"),
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


def examine() -> Checkup:
    """Try every feature, in the namespace and with the privileges of the calling thread. Nothing is left changed."""
    return Checkup(
        host=identity.host(),
        uid=os.geteuid(),
        user_namespace=features.in_user_namespace(),
        features=(*features.reading(), _release(), _table(), *features.others(), *bpf_features.ebpf(PROGRAMS)),
    )
