"""The image of contrib/container is made of all that a package is made of."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_is_made_of_what_a_package_is_made_of() -> None:
    ignored = (ROOT / "contrib/container/Dockerfile.dockerignore").read_text().split()
    assert all((ROOT / name).exists() for name in ("pyproject.toml", "hatch_build.py", "src", "bpf", "docs/man"))
    assert not {"src", "bpf", "docs", "LICENSE", "README.md", "pyproject.toml", "hatch_build.py"} & {*ignored}
