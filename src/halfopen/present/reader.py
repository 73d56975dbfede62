"""Who reads an output here, and what they may do: told by the program that runs, as `present` does not look itself."""

from __future__ import annotations

import os
from typing import Protocol


class Rights(Protocol):
    """What the person who reads an output may do in the shell in which it is read."""

    def has(self, capability: str) -> bool:
        """Whether commands typed there have a capability in their network namespace."""
        ...

    def of_machine(self) -> bool:
        """Whether capabilities are those of the machine, not of a user namespace."""
        ...

    def by_sudo(self) -> bool:
        """Whether sudo started this very command, so that the shell it was typed in is not root's."""
        ...


class _ByUser:
    """The rights where none were set: root has all of them."""

    def has(self, _: str) -> bool:
        return os.geteuid() == 0

    def of_machine(self) -> bool:
        return True

    def by_sudo(self) -> bool:
        return False


_rights: Rights = _ByUser()


def is_read_by(rights: Rights) -> None:
    """From now on, output is for a reader with these rights."""
    global _rights
    _rights = rights


def rights() -> Rights:
    """The rights of the reader of the output."""
    return _rights
