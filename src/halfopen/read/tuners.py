"""Whether tuned or bpftune runs here, and which settings tuned's profile has."""

from __future__ import annotations

import os
from typing import Final

from halfopen.core.tune import tuners
from halfopen.core.tune.tuners import Line, RunningTuned
from halfopen.linux import proc, small_files

ETC: Final = "/etc/tuned"
# An administrator's profile overrides one of the package. Newer versions keep both in a directory `profiles`.
PROFILES: Final = (f"{ETC}/profiles", ETC, "/usr/lib/tuned/profiles", "/usr/lib/tuned")
_MOST: Final = 256 * 1024
_DEEPEST: Final = 16


def notes(keys: list[str], persist: bool) -> list[str]:
    """A line for each of them that runs and may overwrite one of these settings of the caller's namespace.

    tuned sets the settings of its own namespace, bpftune those of all.
    """
    there = running()
    own = "tuned" in there and _lives_here(there["tuned"])
    return tuners.notes(keys, tuned() if own else None, "bpftune" in there, persist)


def running() -> dict[str, int]:
    """Which of the two run, with their PIDs.

    Any process may choose such a name, so its command line must begin with that program as well.
    """
    found: dict[str, int] = {}
    for pid in proc.pids():
        name = proc.name(pid)
        if name in ("tuned", "bpftune") and name not in found:
            words = _read(f"/proc/{pid}/cmdline").split(b"\0")[:4]
            if name.encode() in {os.path.basename(word) for word in words}:
                found[name] = pid
    return found


def _lives_here(pid: int) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/net/dev"), os.stat("/proc/thread-self/net/dev"))
    except OSError:
        return False


def tuned() -> RunningTuned:
    """The active profile of tuned, with the profiles that it includes."""
    names = _read(f"{ETC}/active_profile").decode("utf-8", "replace").split()
    names += _read(f"{ETC}/post_loaded_profile").decode("utf-8", "replace").split()
    settings: dict[str, Line] = {}
    missing: list[str] = []
    for name in names:
        _add(name, settings, missing, _DEEPEST)
    if not names:
        missing.append(f"{ETC}/active_profile")
    reapplies = tuners.flag(_read(f"{ETC}/tuned-main.conf"), "reapply_sysctl", True)
    return RunningTuned(" ".join(names) or "unknown", settings, reapplies, ", ".join(missing))


def _add(name: str, settings: dict[str, Line], missing: list[str], depth: int) -> None:
    """Add the settings of a profile: first those of the profiles it includes, which its own override."""
    path = next((p for d in PROFILES if "/" not in name and os.path.isfile(p := f"{d}/{name}/tuned.conf")), None)
    if path is None or not depth:
        missing.append(name)
        return
    found = tuners.profile(path, _read(path))
    for other in found.includes:
        # A profile that is included as `-name` may be missing.
        if not other.startswith("-") or _there(other[1:]):
            _add(other.removeprefix("-"), settings, missing, depth - 1)
    settings.update(found.settings)


def _there(name: str) -> bool:
    return any(os.path.isfile(f"{directory}/{name}/tuned.conf") for directory in PROFILES)


def _read(path: str) -> bytes:
    return small_files.read(path, _MOST) or b""
