"""Dropping the page cache, measured before and after."""

from __future__ import annotations

import os
import time

from halfopen.change import caches
from halfopen.core.policy.caches import CachesDropped, DropCaches, MachineMemory
from halfopen.read.memory import machine


def execute(action: DropCaches, *, dry_run: bool = False, path: str = caches.PATH) -> CachesDropped:
    """Write dirty pages to disk and drop the page cache of the machine; in a dry run only measure. path: the kernel's
    file that drops caches.

    Raises: NotPermitted, Unsupported, KernelError.
    """
    caches.may_drop(path)
    before = MachineMemory.of(machine())
    if dry_run:
        return CachesDropped(action, before)
    began = time.monotonic()
    # The kernel drops clean pages only.
    os.sync()
    synced = time.monotonic()
    caches.drop(action.inodes, path)
    return CachesDropped(action, before, MachineMemory.of(machine()), synced - began, time.monotonic() - synced)
