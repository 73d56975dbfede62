"""Which connections a release means, in the language that is spoken.

Histories and the audit log keep the English words of `Filter.describe`; each of its conditions has its pattern here.
"""

from __future__ import annotations

import re
from typing import Final

from halfopen.core.filters import Filter
from halfopen.present.findings.words import in_units
from halfopen.present.language import tr

CONDITIONS: Final = ("older than {age}", "with at least {n} retransmits", "on {place}", "from {place}", "all")
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(words))), words) for words in CONDITIONS
)


def chosen(filter: Filter) -> str:
    """The filter in words."""
    return rephrased(filter.describe())


def rephrased(described: str) -> str:
    """The words of `Filter.describe` as the language has them; a condition that is none of them as it is."""
    return tr(", ").join(map(_condition, described.split(", ")))


def _condition(text: str) -> str:
    for pattern, words in _PATTERNS:
        if (match := pattern.fullmatch(text)) is not None:
            return tr(words, **{name: in_units(value) for name, value in match.groupdict().items()})
    return text
