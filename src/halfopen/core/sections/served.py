"""The address of something that is served, as a configuration file names it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from halfopen.core.errors import Unfit, UsageError
from halfopen.core.units import endpoint


def served_address(listen: str, *, anywhere: bool, key: str = "listen") -> IPv4Address | IPv6Address:
    """The address in ADDRESS:PORT, at the key of this name. anywhere: other hosts may reach it. Raises: Unfit."""
    try:
        address, port = endpoint(listen, what="listen")
    except UsageError as e:
        raise Unfit(key, e.message, hint=e.hint) from None
    if address is None:
        raise Unfit(key, "names no address", hint=f'write "127.0.0.1:{port}"')
    if not address.is_loopback and not anywhere:
        hint = f'write "127.0.0.1:{port}" and reach it through ssh -L, or add listen_anywhere = true'
        raise Unfit(key, "is an address that other hosts can reach", hint=hint)
    return address
