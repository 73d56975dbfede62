"""The commands of docs/container.md grant what halfopen needs, and no more."""

from __future__ import annotations

import re
from pathlib import Path

from halfopen.ops import doctor

ROOT = Path(__file__).resolve().parents[2]


def test_each_command_grants_the_capabilities_that_doctor_asks_for() -> None:
    needed = {name for feature in doctor.examine().features for name in feature.needs}
    text = (ROOT / "docs/container.md").read_text()
    commands = re.findall(r"docker run .*?(?=\n\S*(?:'|docker|```))", text, re.DOTALL)
    assert len(commands) == 2
    for command in commands:
        assert {f"CAP_{name}" for name in re.findall(r"--cap-add=(\w+)", command)} == needed
