"""See, explain, release and prevent half-open TCP connections on Linux.

import halfopen
model = halfopen.snapshot()
model.half_open, model.oldest_s, model.listeners, model.sources
halfopen.diagnose(seconds=5).causes
halfopen.release(older_than="10s", listener=":443")
"""

from __future__ import annotations

# Not typing's: it would take half of what a command needs to take charge of signals.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from halfopen.api import (
        advise,
        diagnose,
        make_filter,
        release,
        sample,
        snapshot,
        snapshots,
        tune_apply,
        tune_plan,
        tune_undo,
    )
    from halfopen.core.version import __version__

__all__ = [
    "__version__",
    "advise",
    "diagnose",
    "make_filter",
    "release",
    "sample",
    "snapshot",
    "snapshots",
    "tune_apply",
    "tune_plan",
    "tune_undo",
]


def __getattr__(name: str) -> object:
    # Lazily: the command line reads the version without paying for numpy.
    if name == "__version__":
        from halfopen.core.version import __version__

        return __version__
    if name in __all__:
        from halfopen import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
