"""Run a command of this tree on another kernel by software emulation (QEMU/TCG): function only, no speed is real.

    apt-get install -y qemu-system-x86 busybox
    apt-get download linux-image-6.1.0-50-cloud-amd64 && dpkg -x linux-image-*.deb /tmp/kernel
    python scripts/other_kernel.py /tmp/kernel .venv/bin/halfopen doctor

The guest has this tree, this Python and the system's libraries at the same paths, in memory: nothing outside is
changed, and it has no network. Ends with the command's exit code; 124 after --within seconds.
"""

from __future__ import annotations

import argparse
import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TREE: Final = ("src", "tests", "scripts", "bench", "pyproject.toml", "docs", "bpf")
# Of the packages, what no test of the kernel needs.
HEAVY: Final = ("mypy*", "*mypyc*", "pip", "setuptools", "pkg_resources", "apprise*", "ziglang*", "textual*", "*.pyc")
TOOLS: Final = ("ip", "nft", "ethtool", "tc", "sysctl", "mount", "unshare", "nsenter")
LIBRARIES: Final = ("libbpf.so.1", "libelf.so.1", "libz.so.1")
MODULES: Final = (
    *("kernel/net", "kernel/lib", "kernel/crypto", "kernel/arch/x86/crypto"),
    *(f"kernel/drivers/net/{name}.ko" for name in ("veth", "tun", "dummy", "virtio_net", "net_failover")),
    "kernel/drivers/virtio",
)
# Of Python itself, what nobody imports here.
SKIPPED: Final = ("test", "idlelib", "lib2to3", "ensurepip", "site-packages", "__pycache__", "*.a", "config-3*")
SAYS: Final = "other_kernel: exit code "
INIT: Final = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run/netns /tmp /sbin /usr/bin /usr/sbin /var/run /etc
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mkdir -p /dev/net /dev/shm /run/netns
ln -s /bin/modprobe /sbin/modprobe; echo /bin/modprobe > /proc/sys/kernel/modprobe
for one in veth tun dummy tcp_diag inet_diag nf_tables; do modprobe $one; done
ip link set lo up
export PATH={root}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
uname -r
cd {root} && {command}
echo "{says}$?"
poweroff -f
"""


def main() -> int:
    """Boot it and run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", type=Path, help="where a package of a kernel was unpacked (boot/, lib/modules/)")
    parser.add_argument("--within", type=float, default=600.0, metavar="S")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="other-kernel-") as made:
        image = Path(made) / "initrd"
        build(Path(made) / "root", given.kernel, shlex.join(given.command))
        pack(Path(made) / "root", image)
        shutil.rmtree(Path(made) / "root")
        return boot(next(given.kernel.glob("boot/vmlinuz-*")), image, given.within)


def build(root: Path, kernel: Path, command: str) -> None:
    """The guest's files."""
    for name in TREE:
        _copy(root, ROOT / name)
    for name in ("bin", "pyvenv.cfg"):
        _copy(root, ROOT / ".venv" / name)
    _copy(root, Path(sysconfig.get_path("purelib")), HEAVY)
    _copy(root, Path(sysconfig.get_path("stdlib")), SKIPPED)
    real = Path(sys.executable).resolve()
    programs = [real, *(Path(one) for one in map(shutil.which, TOOLS) if one), Path("/bin/busybox")]
    for one in programs:
        _copy(root, one)
    libraries = [*map(str, root.rglob("*.so*")), *map(str, programs), *_system(LIBRARIES)]
    for library in _needed(libraries):
        _copy(root, Path(library))
    _modules(root, kernel)
    (root / "init").write_text(INIT.format(root=ROOT, command=command, says=SAYS))
    (root / "init").chmod(0o755)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")


def _copy(root: Path, what: Path | str, skipped: Iterable[str] = ("__pycache__",)) -> None:
    what, at = Path(what), root / Path(what).relative_to("/")
    at.parent.mkdir(parents=True, exist_ok=True)
    if what.is_dir():
        shutil.copytree(what, at, ignore=shutil.ignore_patterns(*skipped), dirs_exist_ok=True)
    elif not at.exists():
        shutil.copy(what, at)


def _system(names: Iterable[str]) -> Iterator[str]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for name in names:
        found = re.search(rf"^\s*{re.escape(name)} .*x86-64.*=> (\S+)", listed, re.MULTILINE)
        if found:
            yield found[1]


def _needed(files: list[str]) -> set[str]:
    """These libraries and all that they and the programs are linked with."""
    told = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+\.so\S*)(?= \(0x)", told)) | {one for one in files if one.startswith(("/lib", "/usr"))}


def _modules(root: Path, kernel: Path) -> None:
    (whole,) = (*kernel.glob("lib/modules/*"), *kernel.glob("usr/lib/modules/*"))
    to = root / "lib/modules" / whole.name
    for part in MODULES:
        for found in (*(whole / part).rglob("*.ko*"), *whole.glob(f"{part}*")):
            if found.is_dir():
                continue
            at = to / found.relative_to(whole)
            at.parent.mkdir(parents=True, exist_ok=True)
            if found.suffix == ".xz":
                at.with_suffix("").write_bytes(lzma.decompress(found.read_bytes()))
            elif found.suffix == ".zst":  # Ubuntu
                subprocess.run(["zstd", "-qd", str(found), "-o", str(at.with_suffix(""))], check=True)
            else:
                shutil.copy(found, at)
    for found in whole.glob("modules.builtin*"):
        shutil.copy(found, to)
    subprocess.run(["busybox", "depmod", "-b", str(root), whole.name], check=True)


def pack(root: Path, image: Path) -> None:
    """As the kernel unpacks it into memory."""
    with image.open("wb") as out:
        names = subprocess.Popen(["find", "."], cwd=root, stdout=subprocess.PIPE)
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=root, stdin=names.stdout, stdout=out, check=True)
        names.wait()


def boot(kernel: Path, image: Path, within_s: float) -> int:
    """Run it, its console on ours; the command's exit code."""
    words = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-cpu", "max"]
    words += ["-m", "3072", "-kernel", str(kernel), "-initrd", str(image)]
    # Linux 6.12 allocates by cmpxchg16b, which QEMU 7.2 gets wrong now and then: it ended with a double fault there.
    words += ["-append", "console=ttyS0 quiet panic=-1 clearcpuid=cx16"]
    code = 124
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as vm:
        console = vm.stdout or ()
        timer = subprocess.Popen(["sh", "-c", f"sleep {within_s:g}; kill {vm.pid}"], start_new_session=True)
        for line in console:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith(SAYS):
                code = int(line.removeprefix(SAYS))
        os.killpg(timer.pid, 9)
        timer.wait()
    return code


if __name__ == "__main__":
    sys.exit(main())
