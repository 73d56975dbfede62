"""Which file overrides ours: what is told beforehand is what systemd-sysctl and sysctl --system then do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from run import environment

SYSTEMD_SYSCTL = "/lib/systemd/systemd-sysctl"
ROUNDS = 40

# In a mount and network namespace of its own, where every directory of sysctl.d is an empty one. Its /etc has what the
# machine's has, but for /etc/sysctl.conf, which Debian 13 no longer has at all.
_SETUP = """
mount -t tmpfs none /run; mkdir /run/sysctl.d
mount -t tmpfs none /usr/local/lib; mkdir /usr/local/lib/sysctl.d
mount -t tmpfs none /usr/lib/sysctl.d
mount -t tmpfs none /mnt; mkdir /mnt/old /mnt/etc; mount --bind /etc /mnt/old
for f in /mnt/old/*; do ln -s "$f" /mnt/etc; done
rm -f /mnt/etc/sysctl.d /mnt/etc/sysctl.conf; mkdir /mnt/etc/sysctl.d
mount --bind /mnt/etc /etc
exec "$@"
"""

# Draws files, asks who would override ours, has each tool apply them all, and compares with what the kernel holds then.
_ROUNDS = """
import json, os, random, subprocess, sys
from halfopen.core.tune import sysctl_d
from halfopen.read.sysctl_overrides import overrides

KEYS = {"net.ipv4.tcp_synack_retries": 20, "net.core.somaxconn": 64, "net.ipv4.tcp_syncookies": 0}
DIRECTORIES = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"]
NAMES = ["50-a.conf", "60-Halfopen.conf", "60-halfopen-b.conf", "60-halfopen.conf", "70-c.conf", "99-sysctl.conf", "z"]
chance = random.Random(int(sys.argv[1]))

def line():
    key, n = chance.choice(list(KEYS)), chance.randint(1, 9)
    slashes = key.replace(".", "/")
    return chance.choice([
        f"{key}={n}", f"  {key} =  {n}  ", f"-{key}={n}", f"{slashes} = {n}", f"{key}\\t={n}",
        f"# {key}={n}", f"; {key}={n}", f"{key[:-2]}*={n}", f"{slashes[:-1]}?={n}", f"-{key}", "no assignment", "",
    ])

def draw():
    for directory in DIRECTORIES:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        for name in NAMES:
            path = f"{directory}/{name}"
            if name == sysctl_d.NAME and directory == DIRECTORIES[0]:
                text = "".join(f"{k} = {v}\\n" for k, v in KEYS.items())
            elif chance.random() < 0.6:
                continue
            elif chance.random() < 0.15:
                os.symlink("/dev/null", path)
                continue
            elif name == "99-sysctl.conf" and chance.random() < 0.5:
                os.symlink("/etc/sysctl.conf", path)
                continue
            else:
                text = "\\n".join(line() for _ in range(chance.randint(0, 4))) + chance.choice(["", "\\n"])
            with open(path, "w") as f:
                f.write(text)
    if os.path.exists("/etc/sysctl.conf"):
        os.unlink("/etc/sysctl.conf")
    if chance.random() < 0.7:
        with open("/etc/sysctl.conf", "w") as f:
            f.write("\\n".join(line() for _ in range(chance.randint(0, 3))))

def read(key):
    with open("/proc/sys/" + key.replace(".", "/")) as f:
        return int(f.read())

told = 0
for n in range(int(sys.argv[2])):
    draw()
    found, problems = overrides(KEYS)
    assert not problems, problems
    for tool, boot in (([sys.argv[3]], True), (["sysctl", "--system"], False)):
        for key in KEYS:
            with open("/proc/sys/" + key.replace(".", "/"), "w") as f:
                f.write("200")
        subprocess.run(tool, capture_output=True)
        expected = {**KEYS, **{o.key: 200 if o.value is None else int(o.value) for o in found if o.at_boot or not boot}}
        held = {key: read(key) for key in KEYS}
        if not boot:
            # What an exclusion means to systemd-sysctl, it does not to procps.
            held.update({o.key: expected[o.key] for o in found if o.at_boot and o.value is None})
        if held != expected:
            print(subprocess.run("cd /; head -50 etc/sysctl.d/* run/sysctl.d/* usr/local/lib/sysctl.d/*"
                  " usr/lib/sysctl.d/* etc/sysctl.conf", shell=True, capture_output=True, text=True).stdout)
            raise SystemExit(f"{tool}: {held}, but {expected} was told: {found}")
    told += len(found)
print(json.dumps(told))
"""


@pytest.mark.root
def test_the_order_is_that_of_the_tools_that_apply_the_files(tmp_path: Path) -> None:
    if not Path(SYSTEMD_SYSCTL).exists() or not shutil.which("sysctl", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("needs systemd-sysctl and sysctl: apt-get install systemd procps")
    script = tmp_path / "rounds.py"
    script.write_text(_ROUNDS)
    words = [sys.executable, str(script), "11", str(ROUNDS), SYSTEMD_SYSCTL]
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-ec", _SETUP, "sh", *words],
        env=environment(PATH="/usr/sbin:/usr/bin:/sbin:/bin"),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert json.loads(done.stdout) > ROUNDS // 2
