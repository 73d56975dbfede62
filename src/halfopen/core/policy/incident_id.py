"""The id of an incident, made once where it begins and carried in everything that tells of it."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final

from halfopen.core.policy.counts import Subject
from halfopen.core.where import Namespace

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def incident_id(where: Namespace, listener: Subject, began_s: float) -> str:
    """`20261126T004501Z-3f9c1a`: the second (UTC) of the first sign, and six digits that tell apart the listeners and
    namespaces at which incidents begin within that second.

    The same listener (None: the namespace), namespace and wall-clock time always give the same id. began_s: since 1970.
    """
    at = _EPOCH + timedelta(seconds=int(min(max(began_s, 0.0), 2.0**37)))
    words = f"{where.boot_id} {where.inode} {where.cookie} {listener} {round(began_s * 1000)}"
    return f"{at:%Y%m%dT%H%M%SZ}-{zlib.crc32(words.encode()) & 0xFFFFFF:06x}"
