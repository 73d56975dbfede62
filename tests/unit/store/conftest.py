"""A history file for each test of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfopen.store.database import HistoryPlace, open_to_write, prepare


@pytest.fixture
def place(tmp_path: Path) -> HistoryPlace:
    found = HistoryPlace.of(f"{tmp_path}/h/")
    prepare(found, None)
    return found


@pytest.fixture
def db(place: HistoryPlace) -> Iterator[sqlite3.Connection]:
    opened = open_to_write(place)
    yield opened
    opened.close()
