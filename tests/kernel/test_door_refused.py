"""Where the door can be held, and what is said where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halfopen.change.door import Door
from halfopen.core.errors import HalfopenError
from halfopen.linux import cgroup2
from halfopen.linux.threads import in_thread
from peers import until
from run import document, environment, in_a_mount_namespace
from run import halfopen as halfopen_command
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


def test_refused_the_release_goes_through_the_narrow_window_and_says_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    monkeypatch.setenv("HALFOPEN_REFUSE_NFT", "1")
    did = document("release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    assert (did["released"], did["left"]) == (12, 0)
    [there] = did["namespaces"]
    assert there["held"] is False
    assert "could not be held (" in there["notes"][0]


def test_where_the_root_of_the_tree_is_not_seen_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = tmp_path / "mountinfo"
    shown.write_text(f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    monkeypatch.setattr(cgroup2, "_MOUNTS", str(shown))
    with pytest.raises(HalfopenError, match="cgroup2"):
        in_thread(Door)


# What `ip netns exec` does to /sys.
NEW_SYS = "umount -l /sys; mount -t sysfs sysfs /sys"


@pytest.mark.root
def test_the_door_is_held_inside_ip_netns_exec(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    words = ("release", "--netns", lab.server.netns_path, "--all", "--yes", "--json")
    did = json.loads(in_a_mount_namespace(NEW_SYS, *words).stdout)
    assert (did["released"], did["namespaces"][0]["held"], did["namespaces"][0]["notes"]) == (12, True, [])


def test_where_it_cannot_be_held_that_is_said_before(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", "door")
    monkeypatch.setenv("HALFOPEN_REFUSE_NFT", "1")
    words = ("release", "--netns", lab.server.netns_path, "--all")
    done = halfopen_command(*words, "--dry-run")
    assert "cannot be held here (" in done.stdout
    with terminal(*words, columns=200) as t:
        until(lambda: "[y/N]" in t.read())
        assert "cannot be held here (" in t.text.partition("Release 12")[0]
        t.answer("n\n")
        assert t.wait() == 130
    assert lab.server.half_open() == 12
    # Nothing would be released: nothing can be hit.
    assert "door" not in halfopen_command(*words[:-1], "--older-than", "1h", "--dry-run").stdout


@pytest.mark.parametrize("name", ["größe", "a name\\with blanks", os.fsdecode(b"no\xfftext")])
def test_the_root_of_the_tree_is_found_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    code = (
        "import os; from halfopen.linux import cgroup2\n"
        "found = [p for p in cgroup2._trees('self') if cgroup2._root_at(p) is not None]\n"
        "print(*map(ascii, found))"
    )
    done = subprocess.run(
        # Bound, not mounted anew: that would take nsdelegate from the whole machine.
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            'mount --bind "$1" "$2"; exec "$3" -c "$4"',
            "sh",
            next(cgroup2._trees("self")),
            str(tmp_path / name),
            sys.executable,
            code,
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ascii(str(tmp_path / name)) in done.stdout
