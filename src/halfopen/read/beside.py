"""A glance at the other network namespaces of the machine: their queues alone, and only while the time allows."""

from __future__ import annotations

import time
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.model.beside import Beside, full_queues
from halfopen.linux.netns import Netns
from halfopen.read import discover, head

# `status` takes a quarter of a second in all, and a namespace about 0.5 ms.
BUDGET_S: Final = 0.02


def beside(own: int, budget_s: float = BUDGET_S) -> Beside:
    """The queues of all namespaces but the one with this inode, found by their names and processes.

    A namespace that only a descriptor holds is not found: that search takes longer (`read.discover`).
    """
    until_s = time.monotonic() + budget_s
    found = [ns for ns in discover.inhabited(until_s) if ns.inode != own]
    accept_full = syn_full = unseen = 0
    first = ""
    for at, ns in enumerate(found):
        if time.monotonic() > until_s:
            unseen += len(found) - at
            break
        try:
            accept, syn = _full(ns)
        except HalfopenError:  # the namespace is gone, or we may not enter it
            unseen += 1
            continue
        accept_full += accept
        syn_full += syn
        if (accept or syn) and not first:
            first = _named(ns)
    return Beside(len(found), accept_full, syn_full, unseen, first)


def _full(ns: Netns) -> tuple[bool, bool]:
    draft = ns.run(lambda: head.begin("auto"))
    return (False, False) if draft.source == "proc" else full_queues(draft.listeners, draft.queues)


def _named(ns: Netns) -> str:
    lives_in = discover.inhabitant_of(ns)
    return f"{ns.name}: {lives_in}" if lives_in else ns.name
