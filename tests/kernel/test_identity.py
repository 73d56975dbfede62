"""The kernel's own numbers for namespaces: the same from every side, and never given out twice."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halfopen.core.errors import KernelError
from halfopen.core.where import Host
from halfopen.linux import identity
from halfopen.linux.netns import Netns, create, resolve
from halfopen.read import reader
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab


def test_one_namespace_is_the_same_by_every_name(lab: Lab) -> None:
    path = lab.server.netns_path
    by_path = identity.identify(resolve(path))
    by_another = identity.identify(Netns("another", lab.server.inode, path))
    assert by_path.inode == lab.server.inode
    assert by_path == by_another == reader.read(resolve(path)).where
    assert by_path.name != by_another.name
    assert by_path != identity.identify(None)


def test_a_cookie_is_given_out_once() -> None:
    seen = {identity.identify(None).cookie}
    if None in seen:
        pytest.skip("Linux before 5.14 has no cookies of namespaces")
    for i in range(20):
        fd = create()
        seen.add(identity.identify(Netns(str(i), os.fstat(fd).st_ino, f"/proc/self/fd/{fd}")).cookie)
        os.close(fd)
    assert len(seen) == 21


def test_a_kernel_without_cookies_has_boot_and_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_SO_NETNS_COOKIE", 9999)
    monkeypatch.setattr(identity, "_own_cookie", lambda pid, inode: identity.cookie())  # not what was told before
    where = identity.identify(None)
    assert where.cookie is None
    assert where.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert where.inode == os.stat("/proc/self/ns/net").st_ino


def test_a_shortage_is_not_taken_for_a_kernel_without_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    with pytest.raises(KernelError):
        identity.cookie()


def test_the_host_is_named_as_uname_names_it() -> None:
    assert identity.host() == Host(os.uname().nodename, os.uname().release)
    assert os.uname().release in halfopen("status", "--json").stdout
