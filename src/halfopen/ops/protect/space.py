"""The state of a namespace that the guard depends on, and which of its listeners can be guarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct
from numpy.typing import NDArray

from halfopen.change.guard import GuardSettings
from halfopen.core.addresses import AF_INET6, V4_MAPPED
from halfopen.core.errors import CannotGuard, UnknownTarget
from halfopen.core.policy.actions import Protect
from halfopen.core.policy.guard_policy import covers
from halfopen.core.policy.guarding import USUAL_MSS, mss_tables, window_scale
from halfopen.core.sample.guard import FIRST_SYN, GEN_COOKIE, TC
from halfopen.core.units import Address, address_text, listener_text
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import addresses, firewall, sockdiag
from halfopen.read.tcp_settings import TcpSettings, tcp_settings
from halfopen.wire.rtnetlink import Device

# SYN-ACKs a second to one /24 or /48: 6 Mbit/s, and more new clients than any network of that size has.
MOST_TO_PREFIX: Final = 10_000
LOOPBACK: Final = 1
_COOKIES_ALWAYS: Final = 2
_PLAIN_TIMESTAMPS: Final = 2
_USUAL_MTU: Final = 1500
_LEAST_MSS: Final = 536
_LOWER: Final = (
    "the kernel's own SYN cookies still let clients in, without window scaling where they send no timestamps"
)


class GuardSpace(Struct, frozen=True):
    """One look at the calling thread's namespace: devices that are up, local prefixes (address bytes, length), the
    largest MSS that routes allow, settings, listeners (L,) LISTENER, and the addresses and ports of MPTCP listeners.
    tagged: there are VLAN devices, up or not.
    """

    devices: tuple[Device, ...]
    local: tuple[tuple[bytes, int], ...]
    most_mss: tuple[int, int]
    settings: TcpSettings
    listeners: NDArray[Any]
    mptcp: frozenset[tuple[bytes, int]]
    tagged: bool = False

    def mss(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """The values of MSS that cookies encode, chosen for the devices of the namespace."""
        mtus = [one.mtu for one in self.devices if one.index != LOOPBACK]
        return mss_tables(max(mtus)) if mtus else USUAL_MSS

    def front_mss(self) -> tuple[int, int]:
        """The largest MSS that the XDP rungs announce: one that fits every device."""
        mtus = [one.mtu for one in self.devices if one.index != LOOPBACK] or [_USUAL_MTU]
        v4, v6 = (
            min(max(min(mtus) - headers, _LEAST_MSS), most)
            for headers, most in zip((40, 60), self.most_mss, strict=True)
        )
        return v4, v6

    def guard_settings(self, share: float, mss: Any, rung: str = TC) -> GuardSettings:
        """The settings of the guard. With tcp_syncookies = 2 no queue ever fills, so the guard always answers; with
        rung gen-cookie the kernel decides when there is a cookie.
        """
        of = self.settings
        return GuardSettings(
            share=0.0 if of.cookies == _COOKIES_ALWAYS or rung == GEN_COOKIE else share,
            most_to_prefix=MOST_TO_PREFIX,
            mss=mss,
            most_mss=self.most_mss,
            timestamps=of.timestamps != 0,
            window_scaling=of.window_scaling != 0,
            sack=of.sack != 0,
            ecn=of.ecn != 0,
            wscale=window_scale(of.rmem_max, of.tcp_rmem_max),
            hops=(of.ttl, of.hop_limit),
            front_mss=self.front_mss(),
            plain_timestamps=of.timestamps == _PLAIN_TIMESTAMPS,
        )


def look(most_mss: tuple[int, int] | None = None) -> GuardSpace:
    """Look at the calling thread's namespace. most_mss: the value of the last look, as reading many routes takes long.

    Raises: NotPermitted, Unsupported, KernelError, WireError.
    """
    local, devices = addresses.local_prefixes(), addresses.devices()
    holders = {one.ifindex for one in local}
    with open_sock_diag() as s:
        listeners, _ = sockdiag.listeners(s)
    with open_sock_diag() as s:
        mptcp = sockdiag.mptcp_listeners(s)
    return GuardSpace(
        devices=tuple(one for one in devices if one.up and one.index in holders),
        local=tuple((one.address, one.length) for one in local),
        most_mss=addresses.most_mss() if most_mss is None else most_mss,
        settings=tcp_settings(),
        listeners=listeners,
        mptcp=frozenset((_key(row), int(row["port"])) for row in mptcp),
        tagged=any(one.kind == "vlan" for one in devices),
    )


class Chosen(Struct, frozen=True):
    """The listeners to guard, by address (16 bytes) and port, the same as texts, and a line for each that is
    left out.
    """

    keys: tuple[tuple[bytes, int], ...]
    guarded: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose(space: GuardSpace, action: Protect) -> Chosen:
    """The selected listeners, without those that must not be guarded.

    Raises: UnknownTarget if nothing listens there, CannotGuard if none is left.
    """
    keys: dict[tuple[bytes, int], str] = {}
    refused: dict[str, str] = {}
    for row in _meant(space.listeners, action):
        text, key = _text(row), (_key(row), int(row["port"]))
        if covers(action.never, address_text(int(row["family"]), bytes(row["address"])), key[1]):
            refused[text] = f"{text} is not guarded: never.listeners of the configuration holds it"
        elif key in space.mptcp:
            refused[text] = (
                f"{text} is not guarded: its listener speaks MPTCP, for which the kernel takes no cookies of a guard"
            )
        else:
            keys[key] = text
    if not keys:
        if refused:
            hint = f"listen without MPTCP (Go: GODEBUG=multipathtcp=0); {_LOWER}"
            raise CannotGuard("; ".join(refused.values()), hint=hint)
        raise UnknownTarget("nothing listens in this network namespace", hint="halfopen status shows its listeners")
    notes = [*refused.values()]
    if space.settings.cookies == _COOKIES_ALWAYS:
        notes.append("tcp_syncookies is 2, so that no queue fills: the guard answers every SYN, whatever --at says")
    return Chosen(tuple(keys), tuple(dict.fromkeys(keys.values())), tuple(notes))


def _meant(listeners: NDArray[Any], action: Protect) -> Iterator[Any]:
    if not action.listeners:
        yield from listeners
        return
    for address, port in action.listeners:
        at_port = [row for row in listeners if row["port"] == port]
        found = [row for row in at_port if address is None or _key(row) == _packed(address)]
        # A policy may name a listener that does not exist yet: it is guarded once it does.
        if not found and not action.policy:
            where = listener_text("0.0.0.0" if address is None else str(address), port)
            also = f"; {_text(at_port[0])} does" if at_port else ""
            raise UnknownTarget(f"no listener has {where}{also}", hint="halfopen status shows the listeners")
        yield from found


def may_guard(space: GuardSpace, rung: str = TC) -> None:
    """Check that a guard would help in this namespace. Raises: CannotGuard, with advice."""
    if rung == FIRST_SYN:
        return  # rung first-syn: it answers nothing, so cookies and firewalls do not matter
    if space.settings.cookies is None:
        raise CannotGuard("this kernel is built without SYN cookies (CONFIG_SYN_COOKIES), which a guard needs")
    if space.settings.cookies == 0:
        raise CannotGuard(
            "tcp_syncookies is 0: the kernel would reset every client that the guard lets in",
            hint="halfopen tune apply --cookies on, which lets most clients in by itself",
        )
    lines = firewall.rules()
    rule = firewall.new_without_syn(lines or ())
    if rule:
        raise CannotGuard(
            f"a firewall rule would drop every client that the guard lets in: {rule}",
            hint=f"exempt the port from it, or from tracking (notrack); {_LOWER}",
        )
    if space.settings.loose == 0 and (lines is None or firewall.tracks(lines)):
        raise CannotGuard(
            "nf_conntrack_tcp_loose is 0: the firewall would not know the connections that the guard lets in",
            hint="sysctl -w net.netfilter.nf_conntrack_tcp_loose=1, or exempt the port from tracking (notrack)",
        )


def _key(row: Any) -> bytes:
    raw = bytes(row["address"])
    return raw if row["family"] == AF_INET6 else V4_MAPPED + raw[:4]


def _packed(address: Address) -> bytes:
    return address.packed if address.version == 6 else V4_MAPPED + address.packed


def _text(row: Any) -> str:
    return listener_text(address_text(int(row["family"]), bytes(row["address"])), int(row["port"]))


def text_of(key: tuple[bytes, int]) -> str:
    """A listener's key as a text like :443."""
    return listener_text(address_text(AF_INET6, key[0]), key[1])
