"""Wire rules: which frames are delayed, and which are lost. Pure: frames in, delays and losses out."""

from __future__ import annotations

import ipaddress
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict
from numpy.typing import NDArray

from halfopen.core.errors import UsageError
from halfopen.lab.frames import ETH, Bytes

Way = Literal["in", "out", "both"]
FrameKind = Literal["any", "syn", "synack", "ack", "data", "rst"]

MAX_DELAY_S: Final = 30.0
_KINDS: Final[dict[str, int]] = {"any": 0, "syn": 1, "synack": 2, "ack": 3, "data": 4, "rst": 5}
_SYN, _RST, _ACK, _FIN = 0x02, 0x04, 0x10, 0x01


class WireRule(Struct, frozen=True):
    """One rule of the wire; a field that is None matches every frame, or leaves it as it is.

    way: "in" to the server, "out" to the client. kind: "ack" is an ACK without data, "data" anything with a payload or
    a FIN. client: a prefix of client addresses. port: the server's. Delays are one way: delay_s for all, plus up to
    spread_s by client address, plus up to jitter_s by connection, so that no connection is reordered. loss: the share
    of frames lost (1 cuts the wire), of at most `most` frames. from_s, until_s: when the rule holds, since the wire
    was laid.
    """

    way: Way = "both"
    kind: FrameKind = "any"
    client: str | None = None
    port: int | None = None
    delay_s: float | None = None
    spread_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    most: int | None = None
    from_s: float = 0.0
    until_s: float = float("inf")

    def check(self) -> None:
        """Raises: UsageError for a delay or a loss that the wire does not give."""
        if self.way not in ("in", "out", "both") or self.kind not in _KINDS:
            raise UsageError(f"no wire rule has way={self.way!r}, kind={self.kind!r}")
        longest = (self.delay_s or 0.0) + self.spread_s + self.jitter_s
        if min(self.delay_s or 0.0, self.spread_s, self.jitter_s) < 0 or not longest <= MAX_DELAY_S:
            raise UsageError(f"the wire delays a frame by 0 to {MAX_DELAY_S:g} s, not {longest:g} s")
        if not 0 <= self.loss <= 1:
            raise UsageError(f"a loss is a share from 0 to 1, not {self.loss}")
        if self.client is not None:
            try:
                ipaddress.ip_network(self.client)
            except ValueError:
                raise UsageError(f"{self.client!r} is no prefix") from None

    def as_json(self) -> dict[str, Any]:
        """The rule as JSON carries it; `until_s` is null for ever."""
        made = asdict(self)
        made["until_s"] = None if self.until_s == float("inf") else self.until_s
        return made

    @classmethod
    def from_json(cls, made: dict[str, Any]) -> WireRule:
        """The rule that `as_json` gave."""
        return cls(**{**made, "until_s": float("inf") if made["until_s"] is None else made["until_s"]})


class ParsedFrames(Struct, eq=False):
    """Parsed frames, arrays of one length; rows that are no TCP have kind -1.

    high, low: the client's address in two numbers, IPv4 in the upper half of `high`. v6, kind (values of `_KINDS`),
    port: the server's. client_port: the client's.
    """

    v6: NDArray[np.bool_]
    kind: NDArray[np.int8]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    port: NDArray[np.uint16]
    client_port: NDArray[np.uint16]


def _numbers(frames: Bytes, offset: int, dtype: str) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(frames[:, offset : offset + size]).view(dtype).ravel()


def parse(frames: Bytes, lengths: NDArray[Any], inward: bool) -> ParsedFrames:
    """Parse frames (N, at least 96 bytes) of these lengths (N,), all of one direction, without IP options."""
    ethertype = _numbers(frames, 12, ">u2")
    v6 = ethertype == 0x86DD
    tcp = np.where(v6, ETH + 40, ETH + 20)
    is_tcp = np.where(v6, frames[:, ETH + 6], frames[:, ETH + 9]) == 6
    is_tcp &= v6 | (ethertype == 0x0800)
    row = np.arange(len(frames))
    flags = frames[row, tcp + 13]
    payload = lengths.astype(np.int64) - tcp - (frames[row, tcp + 12] >> 4).astype(np.int64) * 4
    # On a veth short frames are not padded, so everything after the header is payload.
    kind = np.full(len(frames), 3, dtype=np.int8)
    kind[(payload > 0) | (flags & _FIN != 0)] = 4
    kind[flags & (_SYN | _ACK) == _SYN] = 1
    kind[flags & (_SYN | _ACK) == _SYN | _ACK] = 2
    kind[flags & _RST != 0] = 5
    kind[~is_tcp] = -1
    at = (8, 12) if inward else (24, 16)
    high = np.where(
        v6, _numbers(frames, ETH + at[0], ">u8"), _numbers(frames, ETH + at[1], ">u4").astype(np.uint64) << 32
    )
    low = np.where(v6, _numbers(frames, ETH + at[0] + 8, ">u8"), 0)
    ports = [np.where(v6, _numbers(frames, ETH + 40 + o, ">u2"), _numbers(frames, ETH + 20 + o, ">u2")) for o in (0, 2)]
    client, server = ports if inward else ports[::-1]
    return ParsedFrames(
        v6, kind, high.astype(np.uint64), low.astype(np.uint64), server.astype(np.uint16), client.astype(np.uint16)
    )


class WireRules:
    """Rules in order, compiled. The last matching rule with a delay determines the delay; each rule with a
    loss may lose.
    """

    def __init__(self, rules: list[WireRule], seed: int) -> None:
        self._rules = rules
        self._nets = [ipaddress.ip_network(r.client) if r.client is not None else None for r in rules]
        self._random = np.random.default_rng(seed)
        self._salt = np.uint64(seed * 0xC2B2AE3D27D4EB4F & 2**64 - 1)
        self.lost = [0] * len(rules)

    def judge(self, seen: ParsedFrames, inward: bool, now_s: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """How long each frame is delayed (N,), and which are lost (N,), `now_s` after the wire was laid."""
        n = len(seen.kind)
        delay, lost = np.zeros(n), np.zeros(n, dtype=np.bool_)
        for i, rule in enumerate(self._rules):
            if rule.way == ("out" if inward else "in") or not rule.from_s <= now_s < rule.until_s:
                continue
            hit = self._matches(i, rule, seen)
            if not hit.any():
                continue
            if rule.delay_s is not None:
                spread = rule.spread_s * _share(seen.high ^ seen.low, self._salt) if rule.spread_s else 0.0
                jitter = rule.jitter_s * _share(_connection(seen), self._salt) if rule.jitter_s else 0.0
                delay = np.where(hit, rule.delay_s + spread + jitter, delay)
            if rule.loss:
                lost |= self._lose(i, rule, hit & ~lost)
        return delay, lost

    def _lose(self, i: int, rule: WireRule, hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if rule.loss < 1:
            hit = hit & (self._random.random(len(hit)) < rule.loss)
        if rule.most is not None:
            hit = hit & (np.cumsum(hit) <= rule.most - self.lost[i])
        self.lost[i] += int(hit.sum())
        return hit

    def _matches(self, i: int, rule: WireRule, seen: ParsedFrames) -> NDArray[np.bool_]:
        hit = np.ones(len(seen.kind), dtype=np.bool_) if rule.kind == "any" else seen.kind == _KINDS[rule.kind]
        if rule.port is not None:
            hit &= seen.port == rule.port
        net = self._nets[i]
        if net is not None:
            hit &= (seen.v6 == (net.version == 6)) & _within(net, seen)
        return hit


def _within(net: ipaddress.IPv4Network | ipaddress.IPv6Network, seen: ParsedFrames) -> NDArray[np.bool_]:
    bits = net.prefixlen if net.version == 6 else min(net.prefixlen, 32)
    address = int(net.network_address) << (0 if net.version == 6 else 96)
    mask = ((1 << bits) - 1) << (128 - bits)
    high, low = np.uint64(mask >> 64), np.uint64(mask & (2**64 - 1))
    found: NDArray[np.bool_] = (seen.high & high == np.uint64(address >> 64)) & (
        seen.low & low == np.uint64(address & (2**64 - 1))
    )
    return found


def _connection(seen: ParsedFrames) -> NDArray[np.uint64]:
    ports = (seen.port.astype(np.uint64) << np.uint64(16)) | seen.client_port
    return seen.high ^ seen.low ^ (ports * np.uint64(0x9E3779B97F4A7C15))


def _share(key: NDArray[np.uint64], salt: np.uint64) -> NDArray[np.float64]:
    """(N,) numbers from 0 to 1, the same for the same key: a client keeps its distance."""
    mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    shares: NDArray[np.float64] = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    return shares
