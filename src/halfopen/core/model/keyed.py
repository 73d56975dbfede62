"""Keys that eBPF programs count by, as the rows that the join to listeners looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.sample import REQUEST


def requests_of(keys: NDArray[Any]) -> NDArray[Any]:
    """Rows (N,) REQUEST of keys (N,), with what filters and the join look at: family, local side, ifindex."""
    rows = np.zeros(len(keys), dtype=REQUEST)
    for name, source in (("family", "family"), ("local_port", "port"), ("ifindex", "ifindex")):
        rows[name] = keys[source]
    rows["local_address"] = keys["address"]
    return rows
