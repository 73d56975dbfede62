"""Whatever is read back from a file or a socket may be damaged: each reader says so in an error of ours, or skips it.

Beyond what is no JSON: nesting without end, text that is no UTF-8, numbers beyond all bounds, values of another type.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from halfopen.change import options_record
from halfopen.core import notice
from halfopen.core.errors import HalfopenError
from halfopen.core.tune import records
from halfopen.ops import advise
from halfopen.ops.watch.silences import Silences
from halfopen.service import requests
from halfopen.service.messages import FaceReport, Frames

DEEP = b"[" * 5000
DAMAGED = [
    b'{"zz":' + DEEP,
    b'{"event":"then","id":1,"zz":' + DEEP,
    b'{"command":"status","netns":"\xff","event":"\xff","version":"\xff","boot":"\xff"}',
    b'{"boot":"now","inode":Infinity,"cookie":null,"netns_inode":7,"time":1,"released":Infinity}',
    b'{"boot":"now","inode":[],"netns_inode":7,"time":"late","released":[]}',
    b'{"netns_inode":7,"time":1,"released":null}',
    b'[{"zz":' + DEEP,
    b'[{"name":"\xff","subject":"\xff"}]',
    DEEP,
]


def journal(data: bytes, _: Path) -> None:
    list(records.decode(data + b"\n"))


def changed_connections(data: bytes, directory: Path) -> None:
    (directory / "connections-00000007").write_bytes(data + b"\n")
    options_record._records()
    options_record._tidy("now")
    options_record.load("00000007")


def silences(data: bytes, directory: Path) -> None:
    path = directory / "silences.json"
    path.write_bytes(data)
    executor: Any = None
    assert Silences(executor, str(path)).now() == ()


def released(data: bytes, _: Path) -> None:
    assert advise._released(data, 0.0, 7) == 0


READERS: list[Callable[[bytes, Path], object]] = [
    journal,
    changed_connections,
    silences,
    released,
    lambda data, _: notice.decode(data),
    lambda data, _: requests.parse(data),
]


@pytest.mark.parametrize("data", DAMAGED, ids=[str(at) for at in range(len(DAMAGED))])
@pytest.mark.parametrize("reader", READERS, ids=["journal", "connections", "silences", "audit", "notice", "request"])
def test_damage_is_an_error_of_ours_or_none(
    reader: Callable[[bytes, Path], object], data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path))
    with suppress(HalfopenError):
        reader(data, tmp_path)


# The head of a report, up to its `troubles`.
HEAD = b"\x01\x01\xcb" + bytes(8) + b"\x00"


@pytest.mark.parametrize(
    "body",
    [b"\x95" + HEAD + b"\x91\xa1\xff", b"\x98" + HEAD + b"\x90\x90\x90" + b"\x91" * 5000],
    ids=["no UTF-8", "nested"],
)
def test_a_face_that_was_taken_over_cannot_stop_the_eyes(body: bytes) -> None:
    with pytest.raises(HalfopenError):
        list(Frames(FaceReport).take(struct.pack("!I", len(body)) + body))


def test_the_audit_log_still_counts_what_is_whole() -> None:
    line = json.dumps({"netns_inode": 7, "time": 1, "released": 3}).encode()
    assert advise._released(line, 0.0, 7) == 3
