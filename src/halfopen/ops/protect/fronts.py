"""The devices that get a front in the driver (rung xdp): physical ones, if nothing else prevents it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from halfopen.change.guard import Guard
from halfopen.core.errors import CannotGuard, HalfopenError, KernelError, Unsupported
from halfopen.ops.protect.space import LOOPBACK, GuardSpace
from halfopen.wire.rtnetlink import Device

_TC = "--rung tc guards every device"


def of(space: GuardSpace) -> tuple[Device, ...]:
    """The devices for a front. Raises: CannotGuard if there is none, with the reasons."""
    found, reasons = look(space)
    if not found:
        raise CannotGuard(f"no device can have a front in the driver: {'; '.join(reasons)}", hint=_TC)
    return found


def look(space: GuardSpace, ours: frozenset[int] = frozenset()) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """The devices for a front, and for each other device the reason. ours: indices of devices that have our front."""
    found, reasons = [], []
    for device in space.devices:
        why = _against(replace(device, xdp=False) if device.index in ours else device, space)
        if why:
            reasons.append(why)
        elif device.index != LOOPBACK:
            found.append(device)
    return tuple(found), tuple(reasons)


def _against(device: Device, space: GuardSpace) -> str:
    if device.index == LOOPBACK:
        return f"{device.name} is the loopback device"
    if device.kind or not device.ethernet:
        # Packets that veth sends from an XDP program are lost unless its peer runs one, too.
        return f"{device.name} is a virtual device ({device.kind or 'without Ethernet header'})"
    if device.xdp:
        return f"{device.name} has another XDP program"
    if space.tagged:
        # A card may remove the VLAN tag before the program sees the frame; the answer would then go out untagged.
        return f"{device.name} may have VLANs (there is a VLAN device in this namespace)"
    return ""


def notes(space: GuardSpace, refused: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Notes about the front: which devices have it, and which only the guard at tc. refused: as returned by `attach`.

    Raises: as `of`.
    """
    refused = refused or {}
    devices = of(space)
    names = ", ".join(device.name for device in devices if device.index not in refused)
    said = f"rung xdp: the driver of {names} answers SYNs; attaching may take its link down for a moment"
    others = [f"{device.name} has no front: {refused[device.index]}" for device in devices if device.index in refused]
    others += [reason for reason in look(space)[1] if "loopback" not in reason]
    return (said, *(f"{reason}: guarded at tc alone" for reason in others))


def attach(guard: Guard, space: GuardSpace) -> dict[int, str]:
    """Attach the front to every device that may have one. Returns by index why drivers refused it.

    Raises: CannotGuard if all refused, NotPermitted.
    """
    refused: dict[int, str] = {}
    for device in of(space):
        try:
            guard.attach_front(device.index)
        except (Unsupported, KernelError) as e:
            refused[device.index] = e.message
    if not guard.fronts:
        names = {device.index: device.name for device in space.devices}
        reasons = "; ".join(f"{names[index]}: {why}" for index, why in refused.items())
        raise CannotGuard(f"no device takes a front in its driver: {reasons}", hint=_TC)
    return refused


def keep(guard: Guard, space: GuardSpace, refused: dict[int, str]) -> None:
    """Attach the front to new devices, and take it off devices that must not have it any more. refused: devices whose
    driver refused, which are not tried again (a trial may take the link down); further ones are added.
    """
    ours = guard.fronts
    may = {device.index for device in look(space, ours)[0]}
    for index in ours - may:
        guard.detach_front(index)
    for index in (may & guard.devices) - ours - refused.keys():
        try:
            guard.attach_front(index)
        except HalfopenError as e:
            refused[index] = e.message
