"""A leak is named and a pool is not accused, with real programs; bench/closing_scenes.py plays all scenes ten times."""

from __future__ import annotations

import json

import pytest

from halfopen.lab.scenes.closing import CLOSING_SCENES, closing_scene
from run import halfopen

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("scenes")]


@pytest.mark.parametrize("name", ["healthy-pool", "idle-pool", "leak"])
def test_the_verdict_is_right(name: str) -> None:
    one = CLOSING_SCENES[name]
    with closing_scene(name, 3) as stage:
        done = halfopen("closing", "--json", "--for", "2s", "--netns", stage.at.netns_path)
    reasons = {reason["id"]: reason["level"] for reason in json.loads(done.stdout)["verdict"]["reasons"]}
    assert {id for id, level in reasons.items() if level != "ok"} <= set(one.right), reasons
    assert not one.right or reasons.keys() & set(one.right), reasons
