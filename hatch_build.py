"""Hatchling's hook for every build, editable ones too: compiles the eBPF objects when they do not fit their sources.

What is committed, and what an sdist carries, fits; so a build needs no compiler until somebody changes bpf/. Then it
takes this machine's clang, or asks pip for the pinned ziglang. HALFOPEN_BPF_REBUILD=1 compiles in any case.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))
import build_bpf


class BpfBuildHook(BuildHookInterface[Any]):
    """Runs scripts/build_bpf.py where it has something to do."""

    @staticmethod
    def _wanted() -> list[str]:
        return build_bpf.names() if os.environ.get("HALFOPEN_BPF_REBUILD") == "1" else build_bpf.stale()

    def dependencies(self) -> list[str]:
        """What pip has to install before `initialize`."""
        return [build_bpf.requirement()] if self._wanted() and not build_bpf.own_clang() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile what has to be, before the files are collected."""
        wanted = self._wanted()
        if wanted:
            try:
                by = build_bpf.build(wanted)
            except build_bpf.BuildError as e:
                raise SystemExit(f"halfopen: {e}") from None
            self.app.display_info(f"eBPF objects compiled with {by.name}: {', '.join(wanted)}")
