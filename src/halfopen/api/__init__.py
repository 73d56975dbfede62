"""For programs and the command line: `snapshot()`, `diagnose()`, `release()`, `tune_plan()` and so on."""

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
