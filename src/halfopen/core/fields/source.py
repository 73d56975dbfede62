"""Fields of a prefix that half-open connections come from."""

from __future__ import annotations

from typing import Final

from halfopen.core.fields.field import Field, Kind
from halfopen.core.model.sources import SourceView
from halfopen.core.units import show_age

SOURCE: Final[tuple[Field[SourceView], ...]] = (
    Field("prefix", "IPv4 /24 or IPv6 /64", lambda s: s.prefix, "string", kind=Kind.LABEL, title="SOURCE"),
    Field(
        "half_open",
        "half-open connections from this prefix",
        lambda s: s.half_open,
        title="HALF-OPEN",
        show=lambda s: f"{s.half_open:,}",
    ),
    Field(
        "share",
        "of all in the namespace, 0 to 1",
        lambda s: round(s.share, 4),
        title="SHARE",
        show=lambda s: f"{s.share:.1%}",
    ),
    Field(
        "oldest_s",
        "age of the oldest from this prefix",
        lambda s: round(s.oldest_s, 3),
        unit="s",
        title="OLDEST",
        show=lambda s: show_age(s.oldest_s),
    ),
)
