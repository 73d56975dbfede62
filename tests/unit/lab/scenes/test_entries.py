"""The entries of the scenes: names, causes, and mixes."""

from __future__ import annotations

import pytest

from halfopen.core.errors import UsageError
from halfopen.lab.scenes import MIXES, SCENES
from halfopen.lab.scenes.conntrack import entries
from halfopen.lab.scenes.scenes import find, listed

# The stable ids of causes: a scene that named another could never be found right.
CAUSES = {
    *("spoofed-flood", "few-sources-flood", "prefix-flood", "acked-flood", "scan", "slow-path"),
    *("synacks-lost", "acks-lost", "synacks-unsent", "no-route-back"),
    *("app-not-accepting", "member-not-accepting", "backlog-small", "somaxconn-clamp", "cookies-off"),
    *("syn-backlog-reserve", "cookies-always", "release-time-long", "release-time-short", "deferred-accept"),
    *("timewait-reopen", "abort-on-overflow", "conntrack-full", "reverse-path-filter", "nic-drops", "health-checks"),
}


def test_scenes_name_causes_that_exist() -> None:
    for one in SCENES.values():
        assert set(one.causes) <= CAUSES
        assert one.title
        assert "+" not in one.name
    assert {c for one in SCENES.values() for c in one.causes} == CAUSES


def test_all_are_listed_healthy_ones_first() -> None:
    names = [one.name for one in listed()]
    assert sorted(names) == sorted(SCENES)
    assert all(one.healthy for one in listed()[:6])


def test_mixes_are_of_scenes_there_are() -> None:
    for mix in MIXES:
        assert [one.name for one in find("+".join(mix))] == list(mix)


@pytest.mark.parametrize("name", ["", "nix", "idle+", "idle+nix", "idle+busy+flood"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no scene"):
        find(name)


def test_each_tracked_connection_is_another() -> None:
    n, length = 60_001, len(entries(0, 1))
    made = entries(0, n)
    assert len(made) == n * length
    assert len({made[i : i + length] for i in range(0, len(made), length)}) == n
