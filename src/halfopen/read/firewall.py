"""Packet filter rules of the calling thread's namespace that would drop the last ACKs of handshakes whose SYN netfilter
did not see, because a guard answered it.
"""

from __future__ import annotations

import re
import subprocess
from typing import Final

_NFT: Final = ("nft", "list", "ruleset")
_WITHIN_S: Final = 5.0
_NEW: Final = re.compile(r"\bct state\b[^#]*\bnew\b")
_NOT_SYN: Final = re.compile(r"\btcp flags\b[^#]*(!=|! )[^#]*\bsyn\b")
_DROPS: Final = re.compile(r"\b(drop|reject)\b")
_TRACKS: Final = re.compile(r"\bct (state|status|mark)\b")


def rules() -> tuple[str, ...] | None:
    """The lines of the nf_tables ruleset of the namespace, including iptables-nft but not iptables-legacy. None if the
    nft command is missing, refused or does not answer.
    """
    try:
        done = subprocess.run(_NFT, capture_output=True, text=True, errors="replace", timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(line.strip() for line in done.stdout.splitlines()) if done.returncode == 0 else None


def new_without_syn(lines: tuple[str, ...]) -> str:
    """The first rule that drops packets which are new to connection tracking and are not SYNs; "" if there is none."""
    return next((line for line in lines if _NEW.search(line) and _NOT_SYN.search(line) and _DROPS.search(line)), "")


def tracks(lines: tuple[str, ...]) -> bool:
    """Whether any rule looks at the state of connections."""
    return any(_TRACKS.search(line) for line in lines)
