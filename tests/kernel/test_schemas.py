"""Every JSON document that a command wrote at 217cf37 is still written, with the same names and types."""

from __future__ import annotations

import pytest

import schemas
from halfopen.lab import Lab
from run import SRC, halfopen

# One worker plays the scene that all of these look at.
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("schemas")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, schemas.Tree]:
    """What this checkout's commands write, by schema."""
    with Lab() as lab:
        return schemas.trees(lab, SRC, tmp_path_factory.mktemp("schemas"), lambda words, env: halfopen(*words, env=env))


@pytest.mark.parametrize("name", sorted(schemas.golden()))
def test_no_name_is_gone_and_no_type_changed(name: str, written: dict[str, schemas.Tree]) -> None:
    assert name in written
    assert schemas.differences(schemas.golden()[name], written[name], name) == []


def test_every_schema_has_its_golden_tree(written: dict[str, schemas.Tree]) -> None:
    assert written.keys() - schemas.golden().keys() == set()
