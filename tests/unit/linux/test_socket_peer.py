"""Who connected to a Unix socket: the user, and every group, not the primary one alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from halfopen.linux.socket_peer import peer


def test_the_user_and_all_groups_of_whoever_connected(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(path)
            accepted, _ = listening.accept()
            with accepted:
                found = peer(accepted)
    assert found.uid == os.geteuid()
    assert found.groups == {os.getegid(), *os.getgroups()}
