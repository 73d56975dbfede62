"""Which unit and container a process lives in, from its cgroup."""

from __future__ import annotations

import pytest

from halfopen.read.owners import unit_and_container

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "unit", "container"),
    [
        ("0::/system.slice/nginx.service", "nginx.service", None),
        ("0::/user.slice/user-0.slice/session-1.scope", "session-1.scope", None),
        ("0::/init.scope", None, None),
        ("0::/", None, None),
        (f"0::/system.slice/docker-{ID}.scope", f"docker-{ID}.scope", ID[:12]),
        (f"12:memory:/docker/{ID}\n0::/", None, ID[:12]),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", f"cri-containerd-{ID}.scope", ID[:12]),
        (f"0::/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope", ID[:12]),
        ("0::/lxc.payload.web/system.slice/sshd.service", "sshd.service", "web"),
        ("1:name=systemd:/lxc/web", None, "web"),
    ],
)
def test_cgroups(cgroup: str, unit: str | None, container: str | None) -> None:
    assert unit_and_container(cgroup) == (unit, container)
