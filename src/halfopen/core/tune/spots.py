"""Where a change is written to: a setting of a namespace, an option of one listener, or a line of a file."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Struct

from halfopen.core.where import Namespace

TEXT_LENGTH: Final = 4096
ShortText = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)]


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `Namespace` as the journal's file holds it."""

    boot_id: Annotated[str, msgspec.Meta(max_length=64)]
    inode: int
    cookie: int | None
    path: ShortText
    name: ShortText

    @classmethod
    def of(cls, where: Namespace) -> Place:
        """The record of a namespace."""
        return cls(where.boot_id, where.inode, where.cookie, where.path, where.name)

    @property
    def identity(self) -> tuple[str, int, int | None]:
        """The same for records of one namespace."""
        return self.boot_id, self.inode, self.cookie


class ListeningSocket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One listening socket, so that another one at the same address is never taken for it.

    Its inode is used again once it is closed; its cookie (SO_COOKIE) is not, within a boot.
    family: 2 or 10; address: as text, v4-mapped as IPv4.
    """

    family: int
    address: Annotated[str, msgspec.Meta(max_length=64)]
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    inode: int
    cookie: int


class Spot(Struct, frozen=True):
    """The place a change is written to: a setting of a namespace, an option of a listener in it, or a line of a file.

    listener, file: None where it is not that. file: its path; `place` is then only where the command was run.
    """

    place: Place
    key: str
    listener: ListeningSocket | None = None
    file: str | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """The same for changes that stack: of one setting of one namespace, one socket's option, one file's line."""
        if self.file is not None:
            return self.file, self.key
        if self.listener is not None:
            return *self.place.identity, self.listener.inode, self.listener.cookie, self.key
        return *self.place.identity, self.key

    @property
    def lasting(self) -> bool:
        """Whether it outlives the boot and the namespace."""
        return self.file is not None
