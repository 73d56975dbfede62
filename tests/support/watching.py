"""A `halfopen watch` with a configuration, on the server of a lab."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run import begin

if TYPE_CHECKING:
    from halfopen.lab import Lab


class Watched:
    """A watch and its lines as they come."""

    def __init__(self, lab: Lab, config: Path, *words: str) -> None:
        words = ("watch", "--netns", lab.server.netns_path, "--json", "--config", str(config), *words)
        self.process = begin(*words, stdout=subprocess.PIPE, text=True)

    def lines(self, within_s: float = 25.0) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        deadline = time.monotonic() + within_s
        for line in self.process.stdout:
            yield json.loads(line)
            if time.monotonic() > deadline:
                return

    def first(self, event: str, **values: object) -> dict[str, Any]:
        """The next line of an event that has these values."""
        seen = []
        for line in self.lines():
            if line["event"] == event and all(line[name] == value for name, value in values.items()):
                return line
            seen.append(line)
        raise AssertionError(f"no {event} {values} among {[one for one in seen if one['event'] != 'reading']}")

    def end(self) -> list[dict[str, Any]]:
        self.process.terminate()
        out, _ = self.process.communicate(timeout=60)
        return [json.loads(line) for line in out.splitlines()]

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()
