"""For programs and the command line: `snapshot()`, `diagnose()`, `release()`, `tune_plan()` and so on."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from halfopen.api.changing import release as release
    from halfopen.api.changing import tune_apply as tune_apply
    from halfopen.api.changing import tune_plan as tune_plan
    from halfopen.api.changing import tune_undo as tune_undo
    from halfopen.api.chosen import checked as checked
    from halfopen.api.chosen import make_filter as make_filter
    from halfopen.api.chosen import namespace as namespace
    from halfopen.api.judging import advise as advise
    from halfopen.api.judging import diagnose as diagnose
    from halfopen.api.reading import listed as listed
    from halfopen.api.reading import sample as sample
    from halfopen.api.reading import snapshot as snapshot
    from halfopen.api.reading import snapshots as snapshots

_PLACES = {
    "changing": ("release", "tune_apply", "tune_plan", "tune_undo"),
    "chosen": ("checked", "make_filter", "namespace"),
    "judging": ("advise", "diagnose"),
    "reading": ("listed", "sample", "snapshot", "snapshots"),
}


def __getattr__(name: str) -> object:
    # Lazily: a release does without all that reads and judges.
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"halfopen.api.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
