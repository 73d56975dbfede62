"""The file that metrics are read from: replaced as a whole, so that no reader meets half of one."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from halfopen.core.errors import HalfopenError, UsageError

_SUFFIX: Final = ".prom"
_MODE: Final = 0o644
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class MetricsFile:
    """A file at `path`, which must end in .prom: node_exporter reads no other."""

    def __init__(self, path: str) -> None:
        """Raises: UsageError."""
        directory, name = os.path.split(path)
        if not name.endswith(_SUFFIX) or name == _SUFFIX:
            raise UsageError(
                f"--metrics-file {path!r} does not end in {_SUFFIX}",
                hint="node_exporter's textfile collector reads no other; give a name as in halfopen.prom",
            )
        self._path, self._directory, self._name = path, directory or ".", name

    def write(self, text: bytes) -> None:
        """Replace the file. Raises: HalfopenError; the file is then as it was."""
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise self._problem(e) from None
        try:
            self._replace(directory, text)
        except OSError as e:
            raise self._problem(e) from None
        finally:
            os.close(directory)

    def _replace(self, directory: int, text: bytes) -> None:
        # Not *.prom: nobody reads it. Made anew and never followed, whoever else may write to the directory.
        new = f".{self._name}.new"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        fd = os.open(new, _FLAGS, _MODE, dir_fd=directory)
        try:
            with os.fdopen(fd, "wb") as f:
                os.fchmod(f.fileno(), _MODE)  # whatever the umask: another user's node_exporter reads it
                f.write(text)
            os.replace(new, self._name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=directory)
            raise

    def _problem(self, error: OSError) -> HalfopenError:
        return HalfopenError("metrics-file", f"{self._path}: {error.strerror}", hint="name a file that can be written")
