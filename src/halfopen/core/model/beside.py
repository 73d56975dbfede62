"""Other network namespaces beside the one that is looked at: which of them have a full queue."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.sample import QUEUES


class Beside(Struct, frozen=True):
    """others: how many other namespaces were found. accept_full, syn_full: those of them where an accept queue, or a
    SYN queue, of a listener is full. unseen: those that there was no time for, or that could not be entered. first: the
    name of one with a full queue, and who lives there; empty without one.
    """

    others: int = 0
    accept_full: int = 0
    syn_full: int = 0
    unseen: int = 0
    first: str = ""


def full_queues(listeners: NDArray[Any], queues: NDArray[Any] | None) -> tuple[bool, bool]:
    """Whether an accept queue, and whether a SYN queue, of L listeners (dtype LISTENER, QUEUES) is full.

    An accept queue takes one more than the backlog (`sk_acceptq_is_full()`).
    """
    if not len(listeners):
        return False, False
    accept = bool((listeners["accept_queue"] > listeners["accept_queue_limit"]).any())
    told = np.zeros(0, dtype=QUEUES) if queues is None else queues
    if not len(told):
        return accept, False
    limits = np.maximum(listeners["accept_queue_limit"], 1)
    return accept, bool((told["known"] & (told["qlen"] >= limits)).any())
