"""The service under a real systemd, with its unit as it is installed: hardened, asked by others, killed and stopped."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import readable
from halfopen.service import client
from peers import until
from systemd import SYSTEMD, Systemd

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

# Where the unit may read: it hides home directories and /tmp.
PLACE = "/srv"
PYTHONPATH = f"{PLACE}/program/src:{PLACE}/program/packages"
CONFIG = "/etc/halfopen/halfopen.toml"
# Of the unit as it is installed only where it prints is changed: there is no journal.
LOG = "/run/halfopen.log"
DROP_IN = (
    f"[Service]\\nStandardOutput=append:{LOG}\\nStandardError=append:{LOG}\\nLoadCredential=hook:/etc/halfopen/hook\\n"
)
WEB = '[web]\\nlisten = "127.0.0.1:9765"\\n'
# What `top` of a member is sent of each namespace, and the page's present, asked for with a session.
FOLLOW = """
from halfopen.ops.top.between import Between
from halfopen.service.followed import FollowedReadings
for report in FollowedReadings("/run/halfopen/control.sock", "all").run(Between()):
    if type(report).__name__ == "Round":
        print(len(report.watched))
        break
"""
LOOK = """
import json, sys, urllib.request
asked = urllib.request.Request("http://127.0.0.1:9765/state", headers={"Authorization": "Bearer " + sys.argv[1]})
print(len(json.load(urllib.request.urlopen(asked, timeout=20))["state"]["spaces"]))
"""
POLICY = '[[release]]\\nname = "old"\\nmode = "act"\\nolder_than = "2s"\\n'
AUDIT = "/var/log/halfopen/service/audit.jsonl"
CONTAINER_ID = "4f" * 32
# As Docker leaves it: a cgroup with the id, and a record that only root may read.
CONTAINER = """
place=/sys/fs/cgroup/system.slice/docker-{id}.scope
mkdir -p $place /var/lib/docker/containers/{id}
chmod 710 /var/lib/docker /var/lib/docker/containers
echo '{{"Name": "/shop", "Config": {{}}}}' > /var/lib/docker/containers/{id}/config.v2.json
chmod 600 /var/lib/docker/containers/{id}/config.v2.json
sh -c 'echo $$ > $0/cgroup.procs; exec unshare --net {python} -c "$1"' $place \
    'import socket, time; s = socket.create_server(("", 81)); time.sleep(1000)' > /dev/null 2>&1 &
"""
NAMES = "[Service]\\nAmbientCapabilities=CAP_DAC_READ_SEARCH\\nCapabilityBoundingSet=CAP_DAC_READ_SEARCH\\n"
# What it writes to /etc is gone with it; the program is where a service may read it.
SETUP = """
mount -t tmpfs -o mode=755 none {place}
mkdir {place}/program {place}/python
mount --bind {program} {place}/program
mount --bind {python} {place}/python
mkdir {directory}/upper {directory}/work
mount -t overlay -o lowerdir=/etc,upperdir={directory}/upper,workdir={directory}/work overlay /etc
mkdir -m 1777 {directory}/tmp
mount --bind {directory}/tmp /tmp
"""


class Machine(Systemd):
    """With halfopen installed as its service."""

    def __init__(self, directory: Path, netns: str) -> None:
        words = {"program": readable.copied(), "python": sys.base_prefix, "place": PLACE, "directory": directory}
        super().__init__(directory, netns=netns, setup=SETUP.format(**words))
        prefix = sys.base_prefix if sys.base_prefix == "/usr" else f"{PLACE}/python"
        self.python = f"{prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        # As an administrator would give it, with what this copy needs.
        # A Python that was built elsewhere finds its library by a path that the unit hides.
        self.python = f"/usr/bin/env LD_LIBRARY_PATH={prefix}/lib {self.python}"
        self.start = f"{self.python.replace(' ', f' PYTHONPATH={PYTHONPATH} ', 1)} -P -m halfopen"

    def sh(self, script: str) -> str:
        """Run shell commands. Raises: AssertionError when they fail."""
        done = self.run("sh", "-ec", script, PYTHONPATH=PYTHONPATH, HALFOPEN_CONTROL="")
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def shown(self, *names: str) -> dict[str, str]:
        """Properties of the unit."""
        lines = self.sh(f"systemctl show halfopen {' '.join(f'-p {name}' for name in names)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def health(self) -> Any:
        """What the service says of itself; empty while it does not answer."""
        return client.ask(f"/proc/{self._first()}/root/run/halfopen/control.sock", {"command": "health"}) or {}

    def as_user(self, group: str, words: str) -> Any:
        """Run halfopen as an ordinary user of this group."""
        return self.run(
            "sh", "-ec", f"{self._user(group)} {self.start} {words}", PYTHONPATH=PYTHONPATH, HALFOPEN_CONTROL=""
        )

    def python_as_user(self, group: str, code: str, *words: str) -> str:
        """What Python code prints, errors too, run by an ordinary user of this group."""
        script = f"{self._user(group)} {self.python} -c {shlex.join((code, *words))}"
        done = self.run("sh", "-ec", script, PYTHONPATH=PYTHONPATH)
        return done.stdout + done.stderr

    def _user(self, group: str) -> str:
        user = f'setpriv --reuid=65534 --regid=65534 --groups="$(getent group {group} | cut -d: -f3)"'
        return f"{user} --inh-caps=-all --ambient-caps=-all --bounding-set=-all"


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Machine]:
    if not Path(SYSTEMD).exists() or not shutil.which("systemd-sysusers"):
        pytest.skip("needs systemd: apt-get install systemd")
    tmp_path.chmod(0o755)
    with Machine(tmp_path, lab.server.netns_path) as running:
        yield running


def listening(namespaces: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The containers that listen at port 81: id and name."""
    listeners = [one for space in namespaces for one in space["listeners"] if one["port"] == 81]
    return [(p["container"], p["container_name"]) for one in listeners for p in one["processes"]]


def there(machine: Machine, pid: int) -> bool:
    return machine.run("test", "-e", f"/proc/{pid}/exe").returncode == 0


@pytest.mark.slow
def test_the_hardened_unit_sees_releases_and_answers_its_group(lab: Lab, machine: Machine) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 120)
    said = machine.sh(f"{machine.start} service install --program '{machine.start}'")
    assert "wrote    /etc/systemd/system/halfopen.service" in said
    assert "Next  systemctl enable --now halfopen" in said
    place = "/etc/systemd/system/halfopen.service.d"
    machine.sh(
        f"mkdir -m 1777 /var/tmp; mkdir {place}; printf '{DROP_IN}' > {place}/90-test.conf; systemctl daemon-reload"
    )
    machine.sh("umask 077; echo whsec_c2VjcmV0 > /etc/halfopen/hook")
    started = machine.run("systemctl", "start", "halfopen")  # returns when it is ready
    assert started.returncode == 0, machine.sh(f"cat {LOG}; systemctl status halfopen || true")
    unit = machine.shown("ActiveState", "StatusText", "MainPID")
    assert unit["ActiveState"] == "active"
    assert re.search(r": 120 half-open connections", unit["StatusText"]), unit
    first = machine.health()
    assert str(first["pid"]) == unit["MainPID"]

    # A member of the group sees everything; somebody else is not even let in, and sees what the kernel shows.
    member = machine.as_user("halfopen", "status --json")
    assert "answered by the halfopen service" in member.stderr
    document = json.loads(member.stdout)
    assert document["namespaces"][0]["half_open"] == 120
    assert document["namespaces"][0]["listeners"][0]["half_open"] == 120
    other = machine.as_user("nogroup", "status")
    assert "answered by" not in other.stderr
    shown = machine.as_user("halfopen", "service status").stdout
    assert "State     " in shown
    assert f"Face      pid {first['face']['pid']}, " in shown
    refused = machine.sh(
        f"setpriv --reuid=65534 --regid=65534 --groups=$(getent group halfopen | cut -d: -f3) {machine.python} -c "
        '\'from halfopen.service import client; print(client.ask("/run/halfopen/control.sock", '
        '{"command": "reload"}))\''
    )
    assert "not-permitted" in refused

    # The face has nothing; the eyes have four capabilities. A file that is root's alone reaches it as a credential.
    face = first["face"]["pid"]
    environ = dict(one.split("=", 1) for one in machine.sh(f"cat /proc/{face}/environ").split("\0") if "=" in one)
    secret = machine.sh(
        f"nsenter --target {face} --mount --root --wd setpriv --reuid=halfopen --regid=halfopen --clear-groups "
        f"env CREDENTIALS_DIRECTORY={environ['CREDENTIALS_DIRECTORY']} PYTHONPATH={PYTHONPATH} {machine.python} -c "
        '\'from halfopen.notify import secrets; print(secrets.lines("", "hook"))\''
    )
    assert secret == "['whsec_c2VjcmV0']\n"
    status = machine.sh(f"cat /proc/{face}/status")
    assert re.search(r"CapPrm:\t0+\n", status)
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    eyes = machine.sh(f"cat /proc/{first['pid']}/status")
    assert re.search(r"CapEff:\t000000c000081000\n", eyes), eyes

    # A face that is killed is replaced; the service stays.
    machine.sh(f"kill -9 {face}")
    until(lambda: (machine.health().get("face") or {}).get("pid") not in (0, None, face))
    assert machine.shown("MainPID", "NRestarts") == {"MainPID": str(first["pid"]), "NRestarts": "0"}
    # The eyes, killed, take their face along, and systemd starts both again.
    second = machine.health()["face"]["pid"]
    machine.sh(f"kill -9 {first['pid']}")
    until(lambda: machine.shown("NRestarts")["NRestarts"] == "1" and machine.health().get("readings"))
    until(lambda: not there(machine, second))
    # A mistake in the configuration changes nothing; without it, the service releases, with the door held, and records.
    machine.sh(f"printf '{POLICY.replace('act', 'perhaps')}' > {CONFIG}")
    assert machine.run("systemctl", "reload", "halfopen").returncode != 0
    assert machine.shown("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "1"}
    machine.sh(f"printf '{POLICY}' > {CONFIG}; systemctl reload halfopen")
    until(lambda: ": 0 half-open connections" in machine.shown("StatusText")["StatusText"])
    records = [json.loads(line) for line in machine.sh(f"cat {AUDIT}").splitlines()]
    done = [one for one in records if one.get("phase") == "done"]
    assert sum(one["released"] for one in done) == 120
    assert all(one["held"] for one in done)
    assert machine.sh(f"stat -c '%a %U' {AUDIT}") == "600 halfopen\n"
    assert machine.sh("stat -c '%a %U %G' /run/halfopen/control.sock") == "660 halfopen halfopen\n"

    # All of it is in history, which members of the group read from the file; the eyes that were killed left it whole.
    kept = json.loads(machine.as_user("halfopen", "history --json").stdout)
    assert sum(one["outcome"]["released"] for one in kept["releases"]) == 120
    assert len(kept["watched"]) == 2
    # On a fast machine the policy is done before there is an alarm.
    assert {id for one in done for id in one["incidents"]} <= {one["id"] for one in kept["incidents"]}
    assert machine.as_user("nogroup", "history").returncode == 3
    file = "/var/lib/halfopen/service/history/history.db"
    assert machine.sh(f"stat -c '%a %U %G' {file}") == "640 halfopen halfopen\n"

    # Stopped for a while, nothing piles up and nothing is restarted.
    before = machine.health()
    machine.sh(f"kill -{int(signal.SIGSTOP)} {before['pid']}; sleep 2; kill -{int(signal.SIGCONT)} {before['pid']}")
    until(lambda: machine.health().get("readings", 0) > before["readings"])
    after = machine.health()
    assert (after["pid"], after["face"]["pid"]) == (before["pid"], before["face"]["pid"])
    assert after["readings"] < before["readings"] + 20

    # With the drop-in it enters other namespaces: RestrictNamespaces=net lets setns(2) through where it is named.
    machine.sh(CONTAINER.format(id=CONTAINER_ID, python=machine.python))
    machine.sh(f"{machine.start} service install --all-namespaces --program '{machine.start}'")
    # The face serves the page under all that the unit forbids.
    machine.sh(f"printf '{POLICY}{WEB}' > {CONFIG}; systemctl restart halfopen")
    assert machine.health()["everywhere"]
    everywhere = machine.as_user("halfopen", "status --netns all --json")
    assert "answered by the halfopen service" in everywhere.stderr
    namespaces = json.loads(everywhere.stdout)["namespaces"]
    assert len(namespaces) == 2
    assert any("python" in one["lives_in"] for one in namespaces)
    assert "in 2 network namespaces" in machine.shown("StatusText")["StatusText"]
    # The container that listens there is known by its id; with the capability that docs/service.md names, by its name.
    assert listening(namespaces) == [(CONTAINER_ID[:12], None)]
    machine.sh(f"printf '{NAMES}' > {place}/80-names.conf; systemctl daemon-reload; systemctl restart halfopen")
    namespaces = json.loads(machine.as_user("halfopen", "status --netns all --json").stdout)["namespaces"]
    assert listening(namespaces) == [(CONTAINER_ID[:12], "shop")]

    assert machine.python_as_user("halfopen", FOLLOW) == "2\n"
    link = machine.as_user("halfopen", "web --no-open")
    assert link.stdout.startswith("http://127.0.0.1:9765/#link="), link.stderr
    session = machine.as_user("halfopen", "web --token").stdout.strip()
    until(lambda: machine.python_as_user("nogroup", LOOK, session) == "2\n")
    assert "401" in machine.python_as_user("nogroup", LOOK, "guessed")

    machine.sh("systemctl stop halfopen")
    assert machine.shown("Result")["Result"] == "success"
    machine.sh(f"{machine.start} service uninstall")
    assert machine.run("test", "-e", "/etc/systemd/system/halfopen.service").returncode == 1
    assert machine.run("test", "-e", CONFIG).returncode == 0
