"""The help of the screen."""

from __future__ import annotations

from typing import Final

from halfopen.present.screen.styled import StyledLine, styled

KEYS: Final = (
    ("up, down, PgUp, PgDn", "choose a row; scroll a text"),
    ("Home, End", "the first, the last"),
    ("Enter", "details of a listener; listeners of a namespace"),
    ("/", "filter: rows with this text in name or process"),
    ("s", "sort by another column"),
    ("n", "the namespaces (with --netns all)"),
    ("d", "diagnose: look for five seconds, say what is wrong"),
    ("r", "release half-open connections: counts, then asks"),
    ("t", "tune: the change that would help; shows it, then asks"),
    ("p", "pause the screen; readings go on"),
    ("Ctrl-L", "draw the screen anew"),
    ("Esc, Backspace", "back"),
    ("q", "back; from the first page, quit"),
)

_NOTES: Final = (
    "A bar shows how full a queue is. SYN QUEUE: half-open connections and the",
    "most it takes. ACCEPT QUEUE: finished connections that no accept() took yet.",
    "",
    "Rates are those of the last second, drawn over the last minute. SYNs with a ~",
    "are worked out: finished + new half-open + cookies + drops. Without it, eBPF",
    "counted packets, which it does while there is something to decide.",
    "",
    "COMPLETE/S: handshakes from that prefix that finish; - where nothing counted",
    "them in the last minute.",
)

HELP: Final[tuple[StyledLine, ...]] = (
    *(styled((f"  {key:<22}", "bold"), does) for key, does in KEYS),
    (),
    *(styled(f"  {line}") for line in _NOTES),
)
