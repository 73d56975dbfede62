"""A namespace is told by the kernel's numbers, never by what it is called."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.tune.spots import Place
from halfopen.core.where import Namespace

WEB = Namespace("boot", 7, 40, "web", "/run/netns/web", "nginx")


def test_another_name_path_or_inhabitant_is_the_same_namespace() -> None:
    renamed = replace(WEB, name="pid:9", path="/proc/9/ns/net", lives_in="")
    assert renamed == WEB
    assert {WEB: 1}[renamed] == 1
    assert len({WEB, renamed}) == 1


@pytest.mark.parametrize(
    "other", [replace(WEB, boot_id="next"), replace(WEB, inode=8), replace(WEB, cookie=41), replace(WEB, cookie=None)]
)
def test_another_boot_inode_or_cookie_is_another_namespace(other: Namespace) -> None:
    assert other != WEB


def test_the_journal_keeps_what_tells_it() -> None:
    place = Place.of(WEB)
    assert place.identity == ("boot", 7, 40)
    assert (place.name, place.path) == ("web", "/run/netns/web")
