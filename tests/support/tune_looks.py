"""What tests of `tune` look at: the settings of the server of a lab, the journal, and documents of the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tuning
from halfopen.core.tune import settings, wanted_settings
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.tune import tune
from halfopen.ops.tune.values import read
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab


def command(*words: str, **options: Any) -> Any:
    """The document of a `tune` command that succeeds."""
    done = halfopen("tune", *words, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def server(lab: Lab) -> Netns:
    """The namespace of the lab's server."""
    return resolve(lab.server.netns_path)


def values(lab: Lab) -> dict[str, int]:
    """Every setting of the lab's server, by its key."""
    return read(server(lab), settings.KEYS)


def set_(lab: Lab, **wanted: int) -> None:
    """Apply settings by their short names, through the journal."""
    tuning.apply([WantedSetting(wanted_settings.full_key(k), v, "test") for k, v in wanted.items()], server(lab))


def states() -> list[str]:
    """The states of the changes in the journal, in their order."""
    return [c.state for c, _ in tune.log()[1]]
