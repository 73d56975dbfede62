"""Words about where half-open connections come from."""

from __future__ import annotations

from typing import Final

from halfopen.core.model.sources import SourceView
from halfopen.present.language import tr

# A smaller share would be shown as 0.0%.
_LEAST: Final = 0.0005


def spread(largest: SourceView, finishing: str = "") -> str:
    """That no prefix of the size that is counted stands out, and how much the largest has. A wider one may all the
    same: that is a cause. finishing: in words, how many handshakes from there finish.
    """
    return tr(
        "no {size} stands out: at most {share} from {prefix}{finishing}",
        size=f"/{largest.prefix.partition('/')[2]}",
        share=f"{largest.share:.1%}" if largest.share >= _LEAST else "<0.1%",
        prefix=largest.prefix,
        finishing=finishing,
    )
