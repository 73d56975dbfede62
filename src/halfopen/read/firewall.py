"""Packet filter rules of the calling thread's namespace that would drop the ACKs of handshakes which netfilter did not
see begin.
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
    """The lines of the nf_tables ruleset of the namespace, those of iptables-nft included; None where the nft command
    is missing, refused or does not answer. Rules of iptables-legacy are not among them.
    """
    try:
        done = subprocess.run(_NFT, capture_output=True, text=True, errors="replace", timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(line.strip() for line in done.stdout.splitlines()) if done.returncode == 0 else None


def new_without_syn(lines: tuple[str, ...]) -> str:
    """The first rule that drops packets of connections that are new and begin with anything but a SYN; "" for none."""
    return next((line for line in lines if _NEW.search(line) and _NOT_SYN.search(line) and _DROPS.search(line)), "")


def tracks(lines: tuple[str, ...]) -> bool:
    """Whether any rule looks at the state of connections."""
    return any(_TRACKS.search(line) for line in lines)
