"""Secrets: from files that only their owner can read, or from systemd's credentials; never shown."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

from halfopen.core.errors import HalfopenError
from halfopen.core.sections.notify import HIDDEN, NotifySettings
from halfopen.core.units import printable
from halfopen.linux import small_files

_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
_MOST: Final = 64 * 1024
_OTHERS: Final = 0o077
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Shorter words are not hidden: they tell nothing, and occur inside many others.
_WORTH_HIDING: Final = 4


def lines(file: str, credential: str) -> list[str]:
    """The lines of a secret, without blank ones and comments (#): of a file, or of the systemd credential of that name.

    The file is read each time, so a secret can be rotated by replacing it. Raises: HalfopenError.
    """
    data = _of_credential(credential) if credential else _of_file(file)
    try:
        words = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError:
        raise _error(credential or file, "is not UTF-8 text") from None
    found = [word for word in words if word and not word.startswith("#")]
    if not found:
        raise _error(credential or file, "holds no secret", "write it there, on a line of its own")
    return found


def of(settings: NotifySettings) -> list[str]:
    """The lines of a receiver's secret; empty if it has none. Raises: HalfopenError."""
    if not (settings.secret_file or settings.credential):
        return []
    return lines(settings.secret_file, settings.credential)


def open_to_others(path: str) -> bool:
    """Whether users other than the owner may read a file, so that `of` would refuse it; False if it cannot be
    examined.
    """
    try:
        return bool(os.stat(path).st_mode & _OTHERS)
    except (OSError, ValueError):
        return False


def _of_file(path: str) -> bytes:
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as e:
        # Also if root's watch delivers as another user.
        hint = f"it must belong to the user that sends the notices: chown {_us()} {path}" if _refused(e) else ""
        raise _error(path, getattr(e, "strerror", None) or str(e), hint) from None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _error(path, "is not a regular file")
        if facts.st_uid not in (0, os.geteuid()):
            raise _error(path, "belongs to another user", f"chown {_us()} {path}")
        if facts.st_mode & _OTHERS:
            raise _error(path, "could be read by others", f"chmod 600 {path}")
        return small_files.read_open(fd, _MOST)
    except OSError as e:
        raise _error(path, e.strerror or str(e)) from None
    finally:
        os.close(fd)


def _refused(e: OSError | ValueError) -> bool:
    return isinstance(e, PermissionError)


def _us() -> str:
    """The user of this process, by name if it has one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _of_credential(name: str) -> bytes:
    """The credential of this name. Modes are not checked: systemd lets only the service into the directory, and the
    group bits of its files show the mask of an ACL.
    """
    directory = os.environ.get(_DIRECTORY)
    if not directory:
        raise _error(name, "no credentials here ($CREDENTIALS_DIRECTORY is not set)", f"LoadCredential={name}:/…")
    try:
        return small_files.must_read(os.path.join(directory, name), _MOST)
    except (OSError, ValueError) as e:
        raise _error(
            name, getattr(e, "strerror", None) or str(e), f"add LoadCredential={name}:/… to the unit"
        ) from None


def _error(name: str, what: str, hint: str = "") -> HalfopenError:
    return HalfopenError("secret", f"secret {printable(name)}: {what}", hint=hint)


def parts_of(url: str) -> set[str]:
    """The parts of a URL that may be secret: user, password, segments of the path, values of the query."""
    try:
        parts = urlsplit(url)
        # In an Apprise URL the host may be a token.
        found = {parts.netloc.rpartition("@")[2]} if parts.scheme not in ("http", "https") else set()
        found |= {parts.username or "", parts.password or "", *parts.path.split("/")}
    except ValueError:
        return {url}
    found |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    return found | {unquote(word) for word in found} | {url}


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text, printable, with *** instead of every secret."""
    words = sorted((word for word in set(secrets) if len(word) >= _WORTH_HIDING), key=len, reverse=True)
    if words:
        text = re.sub("|".join(map(re.escape, words)), HIDDEN, text)
    return printable(text)
