"""Installing and removing the files of the service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.linux import files, privileges, small_files, state, systemd
from halfopen.linux.replacing import replace
from halfopen.service.unit import CONFIG, DROP_IN, MADE_BY, UNIT, ServiceFile, service_files

_PACKAGED: Final = "/usr/bin/halfopen"
# Directories that the unit hides (ProtectHome, PrivateTmp).
_HIDDEN: Final = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108
_DIRECTORY: Final = 0o755


class Laid(Struct, frozen=True):
    """What was done, a line each, and the commands to run next."""

    done: tuple[str, ...]
    next: tuple[str, ...] = ()


def program() -> str:
    """The command that starts this halfopen, with full paths. Raises: HalfopenError if the service could not run it."""
    beside = os.path.join(os.path.dirname(sys.executable), "halfopen")
    found = beside if os.access(beside, os.X_OK) else shutil.which("halfopen")
    words = found or f"{sys.executable} -P -m halfopen"
    for path in (words.partition(" ")[0], str(Path(__file__).resolve())):
        if path.startswith(_HIDDEN):
            raise HalfopenError(
                "service",
                f"halfopen is installed in {os.path.dirname(path)}, where the service cannot read it",
                hint="install it for the whole system, as with pipx install --global, or in /opt",
            )
    return words


def wanted(root: str, start: str, *, all_namespaces: bool) -> list[ServiceFile]:
    """The files for this machine, or (root) for an image or a package below that directory. start: the command that
    starts halfopen; empty: that of this one, or for a package /usr/bin/halfopen.

    Raises: HalfopenError, Unsupported if systemd does not run.
    """
    if not root:
        _need_systemd()
    start = start or (_PACKAGED if root else program())
    checkout = Path(__file__).resolve().parents[2]
    path = str(checkout) if " -m halfopen" in start and (checkout / "halfopen").is_dir() and not root else ""
    return service_files(start, all_namespaces=all_namespaces, packaged=bool(root), python_path=path)


def install(made: Sequence[ServiceFile], root: str) -> Laid:
    """Write the files; on this machine also create the user and the directories, and have systemd load the unit.

    Raises: HalfopenError, NotPermitted. An existing configuration is left as it is.
    """
    if not root:
        _need_root()
    done = [_write(one, root) for one in made]
    done += _removed(root, [one.path for one in made], only=DROP_IN)
    told = tuple(filter(None, done)) or ("nothing to write: every file is as it should be",)
    if root:
        return Laid(told)
    for words in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        name = next(one.path for one in made if words[0].removeprefix("systemd-") in one.path)
        _run([*words, name])
    _give_to_group(CONFIG)
    _run(["systemctl", "daemon-reload"])
    return Laid(told, ("systemctl enable --now halfopen", "halfopen service status"))


def uninstall(root: str) -> Laid:
    """Stop the service and remove the files that an install wrote. The configuration and all records stay.

    Raises: HalfopenError, NotPermitted, Unsupported.
    """
    if not root:
        _need_systemd()
        _need_root()
        if any(os.path.lexists(one.path) for one in service_files("") if one.path.endswith(UNIT)):
            _run(["systemctl", "disable", "--now", UNIT])
    done = _removed(root, [])
    if not root and done:
        _run(["systemctl", "daemon-reload"])
    kept = [path for path in (CONFIG, state.STATE_OF_ROOT, state.LOGS_OF_ROOT) if os.path.exists(root + path)]
    done += [f"kept     {root}{path}" for path in kept]
    return Laid(tuple(done) or ("nothing was installed",))


def _removed(root: str, but: Sequence[str], only: str = "") -> list[str]:
    """Remove our files, except those at these paths. Returns a line for each, also for a changed file, which stays."""
    done = []
    for one in service_files("", all_namespaces=True, packaged=bool(root)):
        path = root + one.path
        if not one.ours or one.path in but or not one.path.endswith(only) or not os.path.lexists(path):
            continue
        if not (small_files.read(path) or b"").startswith(MADE_BY.encode()):
            done.append(f"kept     {path}: not made by halfopen service install")
            continue
        try:
            os.unlink(path)
            if path.endswith(DROP_IN):
                os.rmdir(os.path.dirname(path))
        except OSError as e:
            if os.path.lexists(path):
                raise _problem(path, e) from None
        done.append(f"removed  {path}")
    return done


def _write(one: ServiceFile, root: str) -> str:
    """Write a file, unless one that is not ours is there. Returns what was done; empty if nothing had to be."""
    path = root + one.path
    before = small_files.read(path)
    if before == one.text.encode():
        return ""
    if not one.ours and os.path.lexists(path):
        return f"kept     {path}: it is the administrator's"
    if before is not None and not before.startswith(MADE_BY.encode()):
        raise HalfopenError(
            "service", f"{path} is there and was not made by halfopen service install", hint="move it away first"
        )
    try:
        os.makedirs(os.path.dirname(path), mode=_DIRECTORY, exist_ok=True)
        if not root:
            files.check_directory(os.path.dirname(path), private=True)
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.path.basename(path)
            replace(directory, name, one.text.encode(), new=f".{name}.new", mode=one.mode, durable=not root)
        finally:
            os.close(directory)
    except (OSError, files.Unsafe) as e:
        raise _problem(path, e) from None
    return f"wrote    {path}" if before is None else f"updated  {path}"


def _give_to_group(path: str) -> None:
    """Make the configuration readable for the service's group only, as it may name secrets."""
    import grp

    try:
        os.chown(path, 0, grp.getgrnam(privileges.GROUP).gr_gid)
    except (KeyError, OSError) as e:
        raise HalfopenError("service", f"{path}: cannot be given to the group halfopen: {e}") from None


def _problem(path: str, error: OSError | files.Unsafe) -> HalfopenError:
    what, remedy = files.what_and_remedy(error, path)
    return HalfopenError("service", f"{path}: {what}", hint=remedy)


def _need_systemd() -> None:
    if not os.path.isdir(systemd.RUNS):
        raise Unsupported(
            "systemd",
            "systemd does not run here",
            hint="halfopen watch --as-service can be started by any other supervisor",
        )


def _need_root() -> None:
    if os.geteuid() != 0:
        raise NotPermitted("writing to /etc is refused", hint="run as root (sudo)")


def _run(words: list[str]) -> None:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise HalfopenError("service", f"{words[0]}: {e}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise HalfopenError("service", f"{' '.join(words)}: {said}")
