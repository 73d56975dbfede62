"""The devices that get a front in the driver (rung xdp): physical ones, of which nothing else stands in the way."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from halfopen.change.guard import Guard
from halfopen.core.errors import CannotGuard, HalfopenError, KernelError, Unsupported
from halfopen.ops.protect.space import LOOPBACK, GuardSpace
from halfopen.wire.rtnetlink import Device

_TC = "--rung tc guards every device"


def of(space: GuardSpace) -> tuple[Device, ...]:
    """Those that a front may be attached to. Raises: CannotGuard where there is none, with the reasons."""
    found, reasons = look(space)
    if not found:
        raise CannotGuard(f"no device can have a front in the driver: {'; '.join(reasons)}", hint=_TC)
    return found


def look(space: GuardSpace, ours: frozenset[int] = frozenset()) -> tuple[tuple[Device, ...], tuple[str, ...]]:
    """Those that may, and for each other device why not. ours: devices, by number, whose XDP program is our front."""
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
        # A card may take the tag off before the program sees the frame, and the answer would go out without it.
        return f"{device.name} may have VLANs (there is a VLAN device in this namespace)"
    return ""


def notes(space: GuardSpace, refused: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """What is to be said of the front: where it is, and where only the guard at tc is. refused: as `attach` gives it.

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
    """Attach the front to every device that may have it; by the number of each that took none, why.

    Raises: CannotGuard where none took it, NotPermitted.
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
    """Attach the front to devices that came meanwhile, and take it off those that it is not for any more. refused:
    devices that took none, which are not tried again (a trial may cost the link); more are entered."""
    ours = guard.fronts
    may = {device.index for device in look(space, ours)[0]}
    for index in ours - may:
        guard.detach_front(index)
    for index in (may & guard.devices) - ours - refused.keys():
        try:
            guard.attach_front(index)
        except HalfopenError as e:
            refused[index] = e.message
