"""The file of a watch's metrics, which is replaced atomically, so that no reader sees an incomplete one."""

from __future__ import annotations

import errno
import os
from typing import Final

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.metrics_text import MetricsText
from halfopen.linux.files import what_and_remedy
from halfopen.linux.replacing import replace

_SUFFIX: Final = ".prom"
# Readable for others, as node_exporter usually runs as another user.
_MODE: Final = 0o644


class MetricsFile:
    """A file at `path`, which must end in .prom, as node_exporter reads no other files."""

    def __init__(self, path: str) -> None:
        """Raises: UsageError."""
        directory, name = os.path.split(path)
        if not name.endswith(_SUFFIX) or name == _SUFFIX:
            raise UsageError(
                f"--metrics-file {path!r} does not end in {_SUFFIX}",
                hint="node_exporter's textfile collector reads only such files; give a name like halfopen.prom",
            )
        self._path, self._directory, self._name = path, directory or ".", name

    def write(self, text: MetricsText) -> None:
        """Replace the file. Raises: HalfopenError; the file is then unchanged."""
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise self._problem(e) from None
        try:
            # node_exporter does not read a file whose name does not end in .prom.
            replace(directory, self._name, text.whole, new=f".{self._name}.new", mode=_MODE)
        except OSError as e:
            raise self._problem(e) from None
        finally:
            os.close(directory)

    def close(self) -> None:
        """The file stays as it is."""

    def _problem(self, error: OSError) -> HalfopenError:
        what, remedy = what_and_remedy(error, self._path, "name another file")
        if error.errno == errno.ENOENT:
            remedy = "make its directory first, or name another file"
        return HalfopenError("metrics-file", f"{self._path}: {what}", hint=remedy)
