"""The version of Linux in what uname says."""

from __future__ import annotations

import pytest

from halfopen.linux.kernel_release import running, version_of


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-50-cloud-amd64", (6, 1)),
        ("5.14.0-427.13.1.el9_4.x86_64", (5, 14)),
        ("6.12-rc3", (6, 12)),
        ("6.18.44-fc-v669", (6, 18)),
        ("next", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_two_numbers_that_a_release_begins_with(release: str, version: tuple[int, int]) -> None:
    assert version_of(release) == version


def test_the_running_kernel_has_one() -> None:
    assert running() >= (3, 0)
