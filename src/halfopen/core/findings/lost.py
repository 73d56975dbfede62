"""How many packets a second are lost before TCP, from two readings."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.sample.before_tcp import BeforeTcp, Received

# Below that, any host on the Internet drops some: packets a second, and of all packets.
LEAST_LOST_PER_S: Final = 10.0
NOTICED: Final = 0.001
# Of what IP receives: a host on the Internet has rules that drop some.
RULED_OUT: Final = 0.05


class LostRates(Struct, frozen=True):
    """Packets a second that connection tracking dropped; of the device that lost most: received, missed, and dropped
    behind it; of all CPUs: found their queue full, and softirqs that left packets for later; that IP received, and of
    these that rules dropped before a protocol saw them; and packets that had no route out. 0 without two readings.
    """

    conntrack_drops: float = 0.0
    device: str = ""
    packets: float = 0.0
    missed: float = 0.0
    dropped: float = 0.0
    softnet_dropped: float = 0.0
    squeezed: float = 0.0
    received: float = 0.0
    ruled_out: float = 0.0
    no_route: float = 0.0


def lost_rates(now: BeforeTcp) -> LostRates:
    """The rates between a reading and the one before it."""
    before = now.earlier
    if before is None:
        return LostRates()
    seconds = max(now.monotonic_s - before.monotonic_s, 1e-3)
    tracked = 0
    if now.conntrack is not None and before.conntrack is not None:
        tracked = now.conntrack.drops - before.conntrack.drops
    device, packets, missed, dropped = _worst(now.devices, before.devices)
    full = sum(cpu.dropped for cpu in now.cpus) - sum(cpu.dropped for cpu in before.cpus)
    squeezed = sum(cpu.squeezed for cpu in now.cpus) - sum(cpu.squeezed for cpu in before.cpus)
    ip = (0, 0, 0)
    if now.ip is not None and before.ip is not None:
        received = now.ip.received - before.ip.received
        known = now.ip.delivered - before.ip.delivered + now.ip.otherwise - before.ip.otherwise
        # Those that connection tracking drops have a counter of their own.
        ip = received, received - known - tracked, now.ip.no_route - before.ip.no_route
    rates = (max(0, n) / seconds for n in (tracked, packets, missed, dropped, full, squeezed, *ip))
    conntrack_drops, *others = rates
    return LostRates(conntrack_drops, device, *others)


def _worst(now: tuple[Received, ...], before: tuple[Received, ...]) -> tuple[str, int, int, int]:
    """The device that lost most, and how far its counters rose; one that is new has no rates."""
    known = {one.device: one for one in before}
    rose = [
        (one.device, one.packets - old.packets, one.missed - old.missed, one.dropped - old.dropped)
        for one in now
        if (old := known.get(one.device)) is not None
    ]
    return max(rose, key=lambda one: (one[2] + one[3], one[1]), default=("", 0, 0, 0))


def ruled_out(rates: LostRates) -> float:
    """The share of the received packets that rules drop before TCP sees them; 0 where they are too few to matter."""
    share = rates.ruled_out / rates.received if rates.received else 0.0
    return share if rates.ruled_out >= LEAST_LOST_PER_S and share >= RULED_OUT else 0.0


def lost_by_queues(rates: LostRates) -> tuple[float, float, str]:
    """Packets a second that found the queue of a device or of a CPU full, their share of all, and which of the two it
    was ("device", "cpu"); 0 where they are too few to matter.
    """
    # Behind a device, frames that nobody here wants are dropped as well; the queues of CPUs tell how many they are.
    behind = min(rates.dropped, rates.softnet_dropped)
    lost, where = max((rates.missed, "device"), (behind, "cpu"))
    share = lost / (rates.packets + lost) if lost else 0.0
    return (lost, share, where) if lost >= LEAST_LOST_PER_S and share >= NOTICED else (0.0, 0.0, where)
