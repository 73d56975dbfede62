"""A step of a cure as the command that carries it out."""

from __future__ import annotations

import re
from typing import Final, assert_never

from halfopen.core.findings.cures import (
    ContinueProcess,
    CureStep,
    ForHost,
    ForProcess,
    LookAtHost,
    LookAtPackets,
    LookAtProcess,
    LookAtQuota,
    LookAtRoute,
    LookAtTracer,
    RaiseConntrack,
    RaiseDescriptors,
    RaiseOpenFiles,
    ThawProcess,
)
from halfopen.core.model import timing
from halfopen.core.policy.actions import Block, ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.policy.connection_actions import USUAL_MOST, ChangeConnections
from halfopen.core.tune.keys import BACKLOG, COOKIES, DEFER, RETRIES, SYN_BACKLOG, SYNACK
from halfopen.core.units import duration_words, endpoint_words, listener_text, netns_words, shell_word

_BRACKETS: Final = re.compile(r"(?<= )(\[[0-9a-f:.]+\]:\d+)(?= |$)")
_COOKIES: Final = {0: "off", 1: "on", 2: "always"}


def step(action: CureStep) -> str:
    """The command line of one step, for any shell: zsh takes the brackets of an IPv6 address for a pattern."""
    return _BRACKETS.sub(r"'\1'", _step(action))


def _step(action: CureStep) -> str:
    if isinstance(action, Release):
        return f"halfopen release{netns_words(action.netns)}{action.filter.arguments() or ' --all'}"
    if isinstance(action, Protect):
        return f"halfopen protect{_guarded(action)}{netns_words(action.netns)}"
    if isinstance(action, Block):
        return f"halfopen block{_blocked(action)}{netns_words(action.where.name)}"
    if isinstance(action, ChangeConnections):
        most = "" if action.most <= USUAL_MOST else f" --max {action.most}"
        where = netns_words(action.netns)
        return f"halfopen closing {action.how}{where}{action.filter.arguments()}{most}"
    if isinstance(action, ChangeSetting):
        return f"halfopen tune apply{netns_words(action.netns)} {_setting(action)}"
    if isinstance(action, ChangeListener):
        where = listener_text(action.address, action.port)
        return f"halfopen tune listener {where} {_option(action)}{netns_words(action.netns)}"
    if isinstance(
        action, LookAtProcess | LookAtTracer | ContinueProcess | ThawProcess | RaiseDescriptors | LookAtQuota
    ):
        return _for_process(action)
    if isinstance(action, LookAtRoute | LookAtHost | LookAtPackets | RaiseConntrack | RaiseOpenFiles):
        return _for_host(action)
    if isinstance(action, Look):
        raise ValueError("cures.command says how to look")
    assert_never(action)


def _for_process(action: ForProcess) -> str:
    if isinstance(action, ContinueProcess):
        return f"kill -CONT {action.pid}"
    if isinstance(action, ThawProcess):
        return _thaw(action)
    if isinstance(action, LookAtTracer):
        return f"ps -fp {action.tracer}" if action.tracer else f"grep TracerPid /proc/{action.pid}/status"
    if isinstance(action, RaiseDescriptors):
        return f"prlimit --pid {action.pid} --nofile={action.limit}"
    if isinstance(action, LookAtQuota):
        if action.unit:
            return f"systemctl show {shell_word(action.unit)} -p CPUQuotaPerSecUSec"
        return f"grep . {shell_word(action.cgroup)}/cpu.*"
    return _LOOKS[action.at].format(pid=action.pid)


_LOOKS: Final = {
    "waits": "ps -Lp {pid} -o tid,stat,wchan:32,comm",
    "threads": "top -H -p {pid}",
    "stack": "cat /proc/{pid}/stack",
    "others": "top -o %CPU",
}
# The names that runtimes give the cgroup of a container: a word of the runtime, followed by 64 digits.
_RUNTIMES: Final = (
    (re.compile(r"/(?:docker-|docker/)[0-9a-f]{64}(?:\.scope)?/"), "docker"),
    (re.compile(r"/libpod-[0-9a-f]{64}(?:\.scope)?/"), "podman"),
)
# Cgroups of a user's own manager or runtime, which root's commands do not know.
_OF_A_USER: Final = re.compile(r"/user@[0-9]+\.service/|/user-[0-9]+\.slice/")
# systemd freezes by cgroup v2 alone; a scope with 64 digits in its name is a container's.
_UNIT: Final = re.compile(r"/([^/]+\.(?:service|scope|slice))/cgroup\.freeze")
_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")


def _thaw(action: ThawProcess) -> str:
    """The command that thaws a process, through whatever froze it if that can be told from names: behind its back, a
    container runtime would go on to call its container paused.
    """
    if not action.file:
        return f"cat /proc/{action.pid}/cgroup"
    if not _OF_A_USER.search(action.file):
        if action.container:
            for pattern, runtime in _RUNTIMES:
                if pattern.search(action.file):
                    return f"{runtime} unpause {shell_word(action.container)}"
        unit = _UNIT.search(action.file)
        if unit is not None and not _CONTAINER.search(unit[1]):
            return f"systemctl thaw {shell_word(unit[1])}"
    word = "0" if action.file.endswith("/cgroup.freeze") else "THAWED"
    return f"echo {word} > {shell_word(action.file)}"


def _guarded(action: Protect) -> str:
    where = "".join(f" {endpoint_words(one)}" for one in action.listeners) or " --all-listeners"
    return where if action.for_s is None else f"{where} --for {duration_words(action.for_s)}"


def _blocked(action: Block) -> str:
    # A single address stands without its length.
    sources = "".join(f" {str(one).removesuffix('/32').removesuffix('/128')}" for one in action.sources)
    port = "" if action.port is None else f" --port {action.port}"
    return f"{sources}{port} --for {duration_words(action.for_s)}"


def _setting(action: ChangeSetting) -> str:
    """In the words of `tune apply`, where it has some for the setting."""
    if action.key == SYNACK:
        return f"--release-time {timing.release_time_s(action.value):g}s"
    if action.key == COOKIES:
        return f"--cookies {_COOKIES[action.value]}"
    if action.key == SYN_BACKLOG:
        return f"--half-open {action.value}"
    return f"--set {action.key.rpartition('.')[2]}={action.value}"


def _option(action: ChangeListener) -> str:
    if action.key == BACKLOG:
        return f"--backlog {action.value}"
    if action.key == RETRIES:
        return f"--release-time {timing.release_time_s(action.value):g}s"
    if action.key == DEFER:
        return f"--defer-accept {action.value}s" if action.value else "--defer-accept 0"
    raise ValueError(f"tune listener has no option proposed for {action.key}")


def _for_host(action: ForHost) -> str:
    if isinstance(action, RaiseConntrack):
        # One limit for all namespaces: only the first one may write it.
        return f"sysctl -w net.netfilter.nf_conntrack_max={action.limit}"
    if isinstance(action, RaiseOpenFiles):
        return f"sysctl -w fs.file-max={action.limit}"
    if isinstance(action, LookAtPackets):
        return _inside(action.netns, f"tcpdump -ni any -c 20 {shell_word(_packets(action))}")
    if isinstance(action, LookAtRoute):
        if action.address and action.reason != "no-route-back":
            return _inside(action.netns, f"ip route get {action.address}")
        # `get` would only say once more that there is none; `match` shows the route that forbids the way.
        match = f" match {action.address}" if action.address else ""
        return _inside(action.netns, f"ip route show table all{match}")
    if action.subject == "device":
        return _inside(action.netns, f"ethtool -g {shell_word(action.name)}")
    if action.subject == "firewall":
        return _inside(action.netns, "nft list ruleset")
    if action.subject == "cpu":
        return "sysctl net.core.netdev_max_backlog net.core.netdev_budget_usecs"
    return _inside(action.netns, "sysctl -w net.ipv4.conf.all.log_martians=1")


def _packets(action: LookAtPackets) -> str:
    """The ACKs in the words of pcap-filter(7)."""
    parts = [*((f"src net {action.source}",) if action.source else ()), "tcp"]
    parts += [f"dst port {action.port}"] if action.port is not None else []
    return " and ".join(parts)


def _inside(netns: str, look: str) -> str:
    """A command as it runs in a namespace."""
    if netns == "self":
        return look
    if netns.startswith("pid:"):
        return f"nsenter -t {netns.removeprefix('pid:')} -n {look}"
    if "/" in netns:
        return f"nsenter --net={shell_word(netns)} {look}"
    return f"ip netns exec {shell_word(netns)} {look}"
