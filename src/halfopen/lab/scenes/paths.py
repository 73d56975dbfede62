"""Scenes of the way between: slow, lossy, or cut in one direction, for some clients."""

from __future__ import annotations

from typing import Final

from halfopen.core.errors import LabError, Unsupported
from halfopen.lab.host import LabHost
from halfopen.lab.scenes.ground import run, run_command
from halfopen.lab.scenes.registry import entry
from halfopen.lab.scenes.stage import Stage
from halfopen.lab.wire.rules import WireRule

_SYN_ACK: Final = "tcp flags & (syn|ack|rst) == syn|ack"


def _to(at: Stage, prefix: str) -> str:
    """The part of a rule that matches packets to a prefix."""
    return f"{'ip6' if at.family == 6 else 'ip'} daddr {prefix}"


def _rule(host: LabHost, chain: str, rule: str) -> None:
    """Add a rule to a host. Raises: Unsupported where nft or what the rule needs is missing."""
    text = f"table inet lab {{\n chain {chain} {{\n type filter hook {chain} priority 0;\n {rule}\n }}\n}}\n"
    try:
        run_command(host, ["nft", "-f", "-"], text)
    except LabError as e:
        raise Unsupported("nftables", e.message) from e


def _two_prefixes(at: Stage, backlog: int) -> tuple[str, float]:
    """Clients of two prefixes; gives the one to hurt, and its rate, once both have connected for a while."""
    web = at.serve(backlog=backlog)
    at.rtt(at.between(0.01, 0.08))
    usual, rate = at.between(30, 150), at.between(15, 80)
    well, ill = at.prefix(16, 48), at.prefix(at.pick(16, 20, 24), 56)
    near = at.visit(web, [well], rate=usual, addresses=3000)
    far = at.visit(web, [ill], rate=rate, addresses=at.pick(60, 200))
    at.until(lambda: near.connected > 2 * usual and far.connected > 2 * rate, "both prefixes connect")
    return ill, rate


@entry("slow-path", "the way to one prefix is long and loses a part", "slow-path")
def slow_path(at: Stage) -> None:
    ill, _ = _two_prefixes(at, 4096)
    at.rtt(at.between(0.8, 1.8), client=ill)
    at.wire.add(WireRule(client=ill, loss=at.between(0.05, 0.15)))
    at.wait(at.between(8, 10))


@entry("lossy-path", "the way to one prefix loses a third of all packets", "slow-path")
def lossy_path(at: Stage) -> None:
    ill, _ = _two_prefixes(at, 4096)
    at.wire.add(WireRule(client=ill, loss=at.between(0.25, 0.4)))
    at.wait(at.between(8, 10))


@entry("synacks-lost", "SYN-ACKs to one prefix do not arrive", "synacks-lost")
def synacks_lost(at: Stage) -> None:
    ill, _ = _two_prefixes(at, at.pick(1024, 4096))
    at.wire.add(WireRule("out", "any", client=ill, loss=1))
    at.wait(at.between(7, 10))


@entry("asymmetric-route", "the route back to one prefix leaves by a device behind which nobody is", "synacks-lost")
def asymmetric_route(at: Stage) -> None:
    ill, _ = _two_prefixes(at, at.pick(1024, 4096))
    via, bits = ("2001:db8:f::2", "64") if at.family == 6 else ("172.31.255.2", "24")
    own = f"{via[:-1]}1/{bits}" + (" nodad" if at.family == 6 else "")
    run(
        at.server,
        "link add other type veth peer name other-end\nlink set other up\nlink set other-end up\n"
        f"addr add {own} dev other\nneigh replace {via} lladdr 02:00:00:00:00:99 dev other nud permanent\n"
        f"route replace {ill} via {via} dev other\n",
    )
    at.wait(at.between(7, 10))


@entry("acks-lost", "last ACKs from one prefix do not arrive", "acks-lost")
def acks_lost(at: Stage) -> None:
    ill, _ = _two_prefixes(at, at.pick(1024, 4096))
    at.wire.add(*(WireRule("in", kind, client=ill, loss=1) for kind in ("ack", "data", "rst")))
    at.wait(at.between(7, 10))


@entry("one-of-two-links", "half of the connections of one prefix never get an answer", "synacks-lost")
def one_of_two_links(at: Stage) -> None:
    ill, _ = _two_prefixes(at, 4096)
    _rule(at.ground.client, "input", f"{_to(at, ill)} jhash tcp dport mod 2 == 1 {_SYN_ACK} drop")
    at.wait(at.between(7, 10))


@entry("output-rule", "a rule of the server drops the SYN-ACKs to one prefix", "synacks-unsent")
def output_rule(at: Stage) -> None:
    ill, _ = _two_prefixes(at, at.pick(1024, 4096))
    _rule(at.server, "output", f"{_to(at, ill)} {_SYN_ACK} drop")
    at.wait(at.between(4, 8))


@entry("no-route", "the server has no route back to one prefix", "no-route-back")
def no_route(at: Stage) -> None:
    ill, _ = _two_prefixes(at, at.pick(1024, 4096))
    # Not a blackhole route: with that, SYNs are dropped without any counter.
    kind = at.pick("unreachable", "prohibit")
    run(at.server, f"route add {kind} {ill}\n")
    at.until(lambda: at.moved("ListenDrops") > 30, "SYNs were dropped", 30)


@entry("one-port-cut", "a few clients, none of whom gets an answer from one port", "synacks-lost")
def one_port_cut(at: Stage) -> None:
    well, ill = at.serve(backlog=128), at.serve(backlog=128)
    at.rtt(at.between(0.01, 0.08))
    at.wire.add(WireRule("out", "any", port=ill.port, loss=1))
    home = at.prefix(16, 48)
    fine = at.visit(well, [home], rate=2, addresses=2)
    at.visit(ill, [home], burst=at.whole(8, 20), count=20, every_s=60, addresses=2, give_up_s=60)
    at.until(lambda: fine.connected > 3, "the other port works")
    at.wait(at.between(9, 12))
