"""The files of the systemd service: the unit and its companions, as text.

docs/service.md gives the reason for each directive. A test checks the rating of `systemd-analyze security`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from halfopen.linux import state

MADE_BY: Final = "# made by halfopen service install"
"""The first line of our files, by which an uninstall recognises them."""
CONFIG: Final = "/etc/halfopen/halfopen.toml"
UNIT: Final = "halfopen.service"
DROP_IN: Final = "10-all-namespaces.conf"

# In the order of docs/service.md, which says what each is for. CAP_DAC_READ_SEARCH and pidfd_getfd(2) are not needed:
# eBPF reads the owners of listeners and their options.
_CAPABILITIES: Final = "CAP_NET_ADMIN CAP_BPF CAP_PERFMON CAP_SYS_PTRACE"

_UNIT: Final = """\
{made_by}
[Unit]
Description=halfopen, on watch for half-open TCP connections
Documentation=man:halfopen-watch(1) man:halfopen-service(1)
After=network.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} watch --config {config}
ExecReload={program} watch --config {config} --check-config
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2s
RestartPreventExitStatus=2
WatchdogSec=2min
TimeoutStopSec=15s
KillMode=mixed
{environment}
User=halfopen
Group=halfopen
RuntimeDirectory=halfopen
RuntimeDirectoryMode=0755
StateDirectory=halfopen/service
StateDirectoryMode=0750
LogsDirectory=halfopen/service
LogsDirectoryMode=0750
UMask=0077
Nice=5

AmbientCapabilities={capabilities}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
SecureBits=noroot noroot-locked
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf setns
SystemCallFilter=~@resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateMounts=yes
PrivateTmp=yes
LimitMEMLOCK=infinity
TasksMax=128

[Install]
WantedBy=multi-user.target
"""

_ALL: Final = """\
{made_by} --all-namespaces
# Looks after every network namespace of the machine. To enter one takes CAP_SYS_ADMIN, which is close to being root:
# without this file the service looks after its own namespace alone.
[Service]
ExecStart=
ExecStart={program} watch --config {config} --netns all
AmbientCapabilities=CAP_SYS_ADMIN
CapabilityBoundingSet=CAP_SYS_ADMIN
RestrictNamespaces=
RestrictNamespaces=net
"""

_SYSUSERS: Final = """\
{made_by}
# The service runs as this user; members of its group may ask the service.
u halfopen - "halfopen, on watch for half-open connections" /var/lib/halfopen
"""

_TMPFILES: Final = """\
{made_by}
# The service writes below these; root's own commands keep their files beside it.
d /var/log/halfopen 0755 root root -
d /var/lib/halfopen 0755 root root -
"""

_LOGROTATE: Final = """\
{made_by}
{logs}/audit.jsonl {{
    su halfopen halfopen
    weekly
    rotate 52
    maxsize 100M
    missingok
    notifempty
    compress
    delaycompress
    nocreate
}}
/var/log/halfopen/audit.jsonl {{
    weekly
    rotate 52
    maxsize 100M
    missingok
    notifempty
    compress
    delaycompress
    nocreate
}}
"""


def _sample() -> str:
    """The commented sample configuration, which contrib/ shows too."""
    return Path(__file__).with_name("halfopen.toml").read_text(encoding="utf-8")


class ServiceFile(Struct, frozen=True):
    """A file of the service. path: below the root. ours: rewritten by each install and removed by an uninstall; other
    files belong to the administrator once they exist.
    """

    path: str
    text: str
    ours: bool = True
    mode: int = 0o644


def service_files(
    program: str, *, all_namespaces: bool = False, packaged: bool = False, python_path: str = ""
) -> list[ServiceFile]:
    """Every file of the service. program: the command that starts halfopen. packaged: in the directories of a
    distribution's packages, not of an administrator. python_path: of a halfopen that runs from a checkout.
    """
    lib = "/usr/lib" if packaged else "/etc"
    environment = [
        f"HALFOPEN_AUDIT_LOG={state.LOGS_OF_SERVICE}/audit.jsonl",
        f"{state.ENVIRONMENT}={state.STATE_OF_SERVICE}",
        f"HALFOPEN_HISTORY={state.STATE_OF_SERVICE}/history/",
        "OPENBLAS_NUM_THREADS=1",
        *([f"PYTHONPATH={python_path}"] if python_path else []),
    ]
    words = {
        "made_by": MADE_BY,
        "program": program,
        "config": CONFIG,
        "logs": state.LOGS_OF_SERVICE,
        "capabilities": _CAPABILITIES,
        "environment": "\n".join(f"Environment={one}" for one in environment),
    }
    texts = {
        f"{lib}/systemd/system/{UNIT}": _UNIT,
        f"{lib}/systemd/system/{UNIT}.d/{DROP_IN}": _ALL if all_namespaces else "",
        f"{lib}/sysusers.d/halfopen.conf": _SYSUSERS,
        f"{lib}/tmpfiles.d/halfopen.conf": _TMPFILES,  # noqa: S108
        "/etc/logrotate.d/halfopen": _LOGROTATE,
    }
    made = [ServiceFile(path, text.format(**words)) for path, text in texts.items() if text]
    return [*made, ServiceFile(CONFIG, _sample(), ours=False, mode=0o640 if not packaged else 0o644)]
