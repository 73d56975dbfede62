"""What this process may do, as the kernel says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from halfopen.core.capabilities import CAPABILITIES
from halfopen.linux.own_rights import OwnRights


def test_capabilities_are_those_in_force() -> None:
    [line] = [x for x in Path("/proc/self/status").read_text("ascii").splitlines() if x.startswith("CapEff:")]
    held = int(line.split()[1], 16)
    assert [OwnRights().has(one) for one in CAPABILITIES] == [bool(held >> bit & 1) for bit in CAPABILITIES.values()]


def test_sudo_is_seen_only_right_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1000")
    assert not OwnRights().by_sudo()  # a shell that sudo started is root's
    above = Path("/proc/self/comm")
    monkeypatch.setattr(os, "getppid", lambda: "self")
    mine = above.read_text(encoding="ascii")
    above.write_text("sudo", encoding="ascii")
    try:
        assert OwnRights().by_sudo()
        monkeypatch.setenv("SUDO_UID", "0")
        assert not OwnRights().by_sudo()
    finally:
        above.write_text(mine.rstrip("\n"), encoding="ascii")
