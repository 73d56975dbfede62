"""The present values of settings in a namespace."""

from __future__ import annotations

from collections.abc import Iterable

from halfopen.change import sysctl
from halfopen.core.errors import HalfopenError
from halfopen.linux.netns import Netns, run_in
from halfopen.ops.tune.spaces import opened


def look(ns: Netns, keys: Iterable[str]) -> tuple[dict[str, int], dict[str, HalfopenError]]:
    """The values of the settings among `keys` that exist in the namespace, and why others could not be read.

    Raises: UnknownTarget, NotPermitted if the namespace cannot be entered.
    """
    unread: dict[str, HalfopenError] = {}

    def one(key: str) -> int | None:
        try:
            return sysctl.read(key)
        except HalfopenError as e:
            unread[key] = e
            return None

    with opened(ns) as fd:
        values = run_in(fd, lambda: {key: v for key in keys if (v := one(key)) is not None})
    return values, unread


def read(ns: Netns, keys: Iterable[str]) -> dict[str, int]:
    """The values of the settings among `keys` that exist in the namespace. Raises: UnknownTarget,
    NotPermitted, KernelError.
    """
    values, unread = look(ns, keys)
    for e in unread.values():
        raise e
    return values
