"""The wire between the two hosts: a veth pair with documentation addresses, where spoofed sources never answer.

Frames for spoofed sources leave the server for a gateway whose hardware address no device has: the client's kernel
sees them as another host's (PACKET_OTHERHOST) and drops them at once, so it can answer neither RST nor ICMP, while a
packet socket still sees them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Side(Struct, frozen=True):
    """One end of the wire."""

    device: str
    mac: str
    v4: str
    v6: str


SERVER: Final = Side("lab-server", "02:00:00:00:00:01", "192.0.2.1", "2001:db8:1::1")
CLIENT: Final = Side("lab-client", "02:00:00:00:00:02", "192.0.2.2", "2001:db8:1::2")
NOBODY: Final = Side("", "02:00:00:00:00:fe", "192.0.2.254", "2001:db8:1::fe")

# RFC 2544 benchmarking and RFC 3849 documentation ranges: never routed, and here only ever on this wire.
SPOOFED_V4: Final = "198.18.0.0/15"
SPOOFED_V6: Final = "2001:2::/48"

QUEUE_PACKETS: Final = 1_000_000

# A namespace's IPv4 settings start as copies of the first namespace's, so what matters is set.
_V4_SETTINGS: Final = {"rp_filter": "0", "forwarding": "0", "accept_redirects": "0", "send_redirects": "0"}
_V6_SETTINGS: Final = {"forwarding": "0", "accept_ra": "0", "accept_dad": "0", "disable_ipv6": "0"}


def settings(device: str, ipv6: bool) -> dict[str, str]:
    """The sysctls one side needs before its device comes up."""
    places = ("all", "default", device)
    chosen = {f"net.ipv4.conf.{place}.{key}": v for place in places for key, v in _V4_SETTINGS.items()}
    if ipv6:
        chosen |= {f"net.ipv6.conf.{place}.{key}": v for place in places for key, v in _V6_SETTINGS.items()}
    return chosen


def link_batch(client_netns: str) -> str:
    """`ip -batch` lines, run at the server, that make the pair; `client_netns` opens the other namespace."""
    return (
        f"link add {SERVER.device} address {SERVER.mac} type veth "
        f"peer name {CLIENT.device} address {CLIENT.mac} netns {client_netns}\n"
    )


def address_batch(mine: Side, other: Side, ipv6: bool) -> str:
    """`ip -batch` lines that bring one side up, with permanent neighbours: the wire carries no ARP and no ND."""
    lines = [
        "link set lo up",
        f"link set {mine.device} addrgenmode none" if ipv6 else "",
        f"link set {mine.device} up",
        f"addr add {mine.v4}/24 dev {mine.device}",
    ]
    lines += [f"neigh replace {n.v4} lladdr {n.mac} dev {mine.device} nud permanent" for n in (other, NOBODY)]
    if ipv6:
        lines.append(f"addr add {mine.v6}/64 dev {mine.device} nodad")
        lines += [f"neigh replace {n.v6} lladdr {n.mac} dev {mine.device} nud permanent" for n in (other, NOBODY)]
    if mine is SERVER:
        lines.append(f"route add {SPOOFED_V4} via {NOBODY.v4} dev {mine.device}")
        if ipv6:
            lines.append(f"route add {SPOOFED_V6} via {NOBODY.v6} dev {mine.device}")
    return "".join(f"{line}\n" for line in lines if line)


def queue_command(device: str) -> list[str]:
    """The command that gives a device a queue of packets, long enough for a million timers that fire together."""
    return ["tc", "qdisc", "replace", "dev", device, "root", "pfifo", "limit", str(QUEUE_PACKETS)]
