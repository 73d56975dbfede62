"""The registry with every rule in it. Importing this loads them all."""

from __future__ import annotations

from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
from halfopen.core.findings.registry import RULES as RULES
from halfopen.core.findings.registry import is_note as is_note
