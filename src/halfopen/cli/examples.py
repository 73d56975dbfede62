"""Examples of every command, for --help and for the manual pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

HELP: Final = ("-h", "--help")

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "status": (
        "halfopen status",
        "halfopen status --netns all          # every network namespace",
        "halfopen status --netns pid:4711     # where process 4711 lives",
    ),
    "top": (
        "halfopen top                                    # q quits, ? lists the keys",
        "halfopen top --netns all                        # every network namespace",
        "halfopen lab --half-open 60000 --rate 500 -- halfopen top",
        "halfopen top --replay 3f9c1a                    # an incident, played again",
    ),
    "list": (
        "halfopen list --older-than 10s",
        "halfopen list --listener :443 --sort source --limit 20",
        "halfopen list --format csv > half-open.csv",
    ),
    "release": (
        "halfopen release --older-than 10s --dry-run     # look first",
        "halfopen release --listener :443 --older-than 10s",
        "halfopen release --source 198.51.100.0/24 --yes --reason 'runbook 12'",
    ),
    "watch": (
        "halfopen watch                                  # Ctrl-C ends it",
        "halfopen watch --listener :443 --release-older-than 15s",
        "halfopen watch --netns all --config watch.toml",
        "halfopen watch --metrics-listen 127.0.0.1:9764  # for Prometheus",
        "halfopen watch --history /var/lib/halfopen/history/",
    ),
    "history": (
        "halfopen history                                # of the last hour",
        "halfopen history --since 7d --incidents",
        "halfopen history --since 02:00 --until 03:00 --listener :443",
        "halfopen history show 3f9c1a                    # the end of its ID",
    ),
    "history replay": (
        "halfopen history replay 3f9c1a                  # the lines of watch",
        "halfopen history replay 3f9c1a --at +5s         # the screen of status",
    ),
    "history show": ("halfopen history show 20261126T004501Z-3f9c1a",),
    "history export": (
        "halfopen history export --since 1d > values.csv",
        "halfopen history export --format ndjson --incidents --since 30d",
    ),
    "report": (
        "halfopen report --incident 3f9c1a -o incident.html",
        "halfopen report --since 24h -o day.md",
        "halfopen report --incident 3f9c1a --language zh  # Markdown, on the screen",
    ),
    "check": (
        "halfopen check                                  # by the verdict of status",
        "halfopen check -w 500 -c 2000 -c oldest=60 -c drops_per_s=5",
        "halfopen check --netns all",
    ),
    "diagnose": (
        "halfopen diagnose",
        "halfopen diagnose --for 30s --listener :443",
        "halfopen diagnose --netns all --json",
    ),
    "advise": (
        "halfopen advise",
        "halfopen advise --listener :443 --for 10m",
    ),
    "handshakes": (
        "halfopen handshakes",
        "halfopen handshakes --listener :443 --for 1m",
    ),
    "block": (
        "halfopen block 203.0.113.7 --for 1h --reason 'incident 12'",
        "halfopen block 2001:db8:7::/48 --port 443",
        "halfopen block list",
    ),
    "unblock": ("halfopen unblock 203.0.113.7", "halfopen unblock --all"),
    "protect": (
        "halfopen protect :443                           # until Ctrl-C",
        "halfopen protect --all-listeners --for 10m --reason 'incident 12'",
        "halfopen protect :443 --dry-run                 # can this host guard it?",
        "halfopen protect status",
        "halfopen protect off",
    ),
    "release-time": (
        "halfopen release-time --retries 0..8",
        "halfopen release-time --measure --retries 0..2  # takes 8 s",
    ),
    "closing": (
        "halfopen closing",
        "halfopen closing --for 10s                      # look twice: leak or pool?",
        "halfopen closing --process java --state close-wait --json",
    ),
    "closing list": (
        "halfopen closing list --state close-wait",
        "halfopen closing list --process 4711 --peer 10.0.0.5:5432 --sort unread",
        "halfopen closing list --format csv > connections.csv",
    ),
    "closing keepalive": (
        "halfopen closing keepalive --process java --idle 10m --dry-run",
        "halfopen closing keepalive --peer :5432 --after 60s --every 10s --probes 6",
        "halfopen closing keepalive --undo 1f0c2a77",
    ),
    "closing probe": (
        "halfopen closing probe --process java --state established --idle 10m",
        "halfopen closing probe --peer 10.0.0.5:5432 --yes --json",
    ),
    "closing shutdown": (
        "halfopen closing shutdown --process 4711 --dry-run",
        "halfopen closing shutdown --peer 10.0.0.5:6379 --yes",
    ),
    "closing destroy": (
        "halfopen closing destroy --process 4711 --dry-run",
        "halfopen closing destroy --state established --peer :5432 --idle 30m",
    ),
    "memory": (
        "halfopen memory",
        "halfopen memory --netns pid:4711 --json",
    ),
    "memory drop-caches": (
        "halfopen memory drop-caches --dry-run",
        'halfopen memory drop-caches --reason "before a measurement of a cold start"',
    ),
    "tune": (
        "halfopen tune show                              # what matters here",
        "halfopen tune apply --release-time 7s --for 10m",
        "halfopen tune listener :443 --backlog 4096",
        "halfopen tune log",
        "halfopen tune undo 1",
    ),
    "tune show": (
        "halfopen tune show",
        "halfopen tune show --release-time 7s            # what is needed for it",
        "halfopen tune show --all --netns web            # every setting",
    ),
    "tune apply": (
        "halfopen tune apply --release-time 7s --dry-run",
        "halfopen tune apply --release-time 7s --for 10m # reverted in time",
        "halfopen tune apply --set somaxconn=8192 --reason 'ticket 12'",
        "halfopen tune apply --cookies on --persist      # across reboots",
    ),
    "tune listener": (
        "halfopen tune listener :443                     # shows it",
        "halfopen tune listener :443 --backlog 4096 --dry-run",
        "halfopen tune listener 192.0.2.1:443 --release-time 7s --netns pid:4711",
    ),
    "tune log": (
        "halfopen tune log",
        "halfopen tune log --json",
    ),
    "tune undo": (
        "halfopen tune undo 3",
        "halfopen tune undo --all --reason 'flood is over'",
    ),
    "web": (
        "halfopen web                                    # a link to the page",
        "ssh -L 9765:127.0.0.1:9765 HOST halfopen web    # from another machine",
    ),
    "notify": ("halfopen notify test                            # to every receiver",),
    "notify test": (
        "halfopen notify test",
        "halfopen notify test --config watch.toml chat   # to one of them",
    ),
    "doctor": (
        "halfopen doctor",
        "halfopen doctor --json",
    ),
    "service": (
        "sudo halfopen service install",
        "halfopen service status",
    ),
    "service install": (
        "halfopen service install --dry-run              # shows the files",
        "sudo halfopen service install --all-namespaces  # containers too",
        "halfopen service install --root build/image     # for a package",
    ),
    "service status": (
        "halfopen service status",
        "halfopen service status --json",
    ),
    "service reload": ("sudo halfopen service reload",),
    "service mode": (
        "sudo halfopen service mode observe              # releases nothing more",
        "sudo halfopen service mode configured",
    ),
    "service ack": (
        "sudo halfopen service ack 3f9c1a --reason 'ticket 12'",
        "sudo halfopen service ack 3f9c1a --for 4h",
    ),
    "service silence": ("sudo halfopen service silence :443 --for 1h --reason upgrade",),
    "service unsilence": ("sudo halfopen service unsilence :443",),
    "service uninstall": ("sudo halfopen service uninstall",),
    "lab": (
        "halfopen lab --half-open 2400 --sources few -- halfopen status",
        "halfopen lab --half-open 900 --rate 100 -- sh   # a shell in there",
        "halfopen lab --never-accept --honest 200 --for 5m",
        "halfopen lab --scene app-stopped -- halfopen status",
        "halfopen lab --scene list",
    ),
    "completion": (
        'eval "$(halfopen completion bash)"              # for this shell',
        "halfopen completion fish > ~/.config/fish/completions/halfopen.fish",
    ),
}


def add(command: click.Command, name: str) -> click.Command:
    """The command `name`, and those below it, with their examples at the end of --help."""
    # click remembers the first context's, which need not have been made by way of the group.
    command.context_settings.setdefault("help_option_names", list(HELP))
    lines = EXAMPLES.get(name)
    if lines and command.epilog is None:
        # \b keeps click from filling the lines.
        command.epilog = "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            add(one, f"{name} {below}")
    return command
