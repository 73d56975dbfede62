"""What cannot be read for now is asked for again; only an answer is kept."""

from __future__ import annotations

import errno

import pytest

from halfopen.linux import identity, small_files


def test_a_boot_that_could_not_be_read_is_read_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    identity._boot_id.cache_clear()
    told = identity.boot_id()
    identity._boot_id.cache_clear()

    def short(path: str, most: int = 0) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as shortage:
        shortage.setattr(small_files, "must_read", short)
        assert identity.boot_id() == ""
    assert len(told) == 36
    assert identity.boot_id() == told
    monkeypatch.setattr(small_files, "must_read", short)
    assert identity.boot_id() == told
