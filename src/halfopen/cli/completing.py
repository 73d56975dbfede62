"""Completion of option values: only names that can be looked up quickly."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem

from halfopen.core.units import listener_text
from halfopen.linux import proc, small_files

_EVERYWHERE = {"status", "top", "list", "release", "watch", "check", "diagnose", "handshakes"}
_LISTEN = "0A"
_MOST = 256 * 1024


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell's own completion of file names."""
    return [CompletionItem(incomplete, type="file")]


def namespaces(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Namespaces with a name, and processes once pid: is typed."""
    from halfopen.linux.netns import names

    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    if incomplete.startswith("pid:"):
        offered = [CompletionItem(f"pid:{pid}", help=name) for pid, name in _processes()]
        return [item for item in offered if item.value.startswith(incomplete)]
    offered = [CompletionItem(name) for name in names()]
    if ctx.info_name in _EVERYWHERE:
        offered.append(CompletionItem("all", help="every network namespace"))
    offered.append(CompletionItem("pid:", help="where a process lives"))
    return [item for item in offered if item.value.startswith(incomplete)]


def _processes() -> Iterator[tuple[int, str]]:
    for pid in proc.pids():
        name = proc.name(pid)
        if name is not None:
            yield pid, name


def listeners(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The listeners of this network namespace; none where --netns names another."""
    if ctx.params.get("netns"):
        return []
    return [CompletionItem(name) for name in sorted(set(_listening())) if name.startswith(incomplete)]


def scenes(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The scenes of the lab, of a second one (NAME+NAME) as well."""
    from halfopen.lab.scenes.scenes import listed

    before, plus, begun = incomplete.rpartition("+")
    return [CompletionItem(before + plus + one.name, help=one.title) for one in listed() if one.name.startswith(begun)]


def _listening() -> Iterator[str]:
    for file, size in (("/proc/self/net/tcp", 8), ("/proc/self/net/tcp6", 32)):
        # Listeners come first; a million connections may follow. The last line is cut off where the reading ends.
        whole, _, _ = (small_files.read(file, _MOST) or b"").decode("ascii", "replace").rpartition("\n")
        for line in whole.splitlines()[1:]:
            words = line.split()
            if words[3] != _LISTEN:
                break
            address, _, port = words[1].partition(":")
            yield listener_text(_address(address[:size]), int(port, 16))


def _address(text: str) -> str:
    import sys

    # Each 32 bits as this machine's number.
    raw = b"".join(
        int(text[i : i + 8], 16).to_bytes(4, "little" if sys.byteorder == "little" else "big")
        for i in range(0, len(text), 8)
    )
    return str(ipaddress.ip_address(raw))
