"""Containers by the names that their runtimes wrote down; whatever is written there, no more than a name is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from halfopen.core.sample import Process
from halfopen.read import containers
from halfopen.read.containers import container_name

ID = "0123456789abcdef" * 4
Write = Callable[[str, object], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a runtime's record below a root of its own."""
    monkeypatch.setattr(containers, "_known", {})
    for name in ("DOCKER", "STORAGE", "PODMAN"):
        monkeypatch.setattr(containers, name, f"{tmp_path}{getattr(containers, name)}")
    monkeypatch.setattr(containers, "CONTAINERD", tuple(f"{tmp_path}{path}" for path in containers.CONTAINERD))

    def written(path: str, document: object) -> None:
        there = Path(path.format(id=ID))
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(document if isinstance(document, str) else json.dumps(document))

    return written


def test_docker(write: Write) -> None:
    assert container_name(ID) == ""
    write(containers.DOCKER, {"ID": ID, "Name": "/web", "Config": {"Hostname": "0123456789ab", "Labels": {}}})
    assert container_name(ID) == "web", "one that was not there yet is looked for again"


def test_kubernetes_by_containerd_cri_o_and_docker(write: Write) -> None:
    pod = {"io.kubernetes.cri.sandbox-name": "shop-7d4b", "io.kubernetes.cri.container-name": "web"}
    write(containers.CONTAINERD[0], {"ociVersion": "1.1.0", "annotations": pod})
    assert container_name(ID) == "shop-7d4b/web"
    containers._known.clear()
    write(containers.CONTAINERD[0], {"annotations": {}})
    crio = {"io.kubernetes.pod.name": "shop-1", "io.kubernetes.container.name": "api"}
    write(containers.STORAGE, {"annotations": crio})
    assert container_name(ID) == "shop-1/api"
    containers._known.clear()
    write(containers.DOCKER, {"Name": "/k8s_api_shop-1_default_0", "Config": {"Labels": crio}})
    assert container_name(ID) == "shop-1/api"


def test_podman_and_nerdctl(write: Write) -> None:
    write(containers.PODMAN, [{"id": "f" * 64, "names": ["other"]}, {"id": ID, "names": ["db", "db-alias"]}])
    assert container_name(ID) == "db"
    containers._known.clear()
    write(containers.CONTAINERD[1], {"annotations": {"nerdctl/name": "cache"}})
    assert container_name(ID) == "cache"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"Name": 7, "Config": []}'])
def test_what_is_no_record_gives_no_name(write: Write, text: str) -> None:
    for path in (containers.DOCKER, containers.STORAGE, containers.PODMAN, *containers.CONTAINERD):
        write(path, text)
    assert container_name(ID) in ("", "7")


def test_a_name_is_bounded_and_harmless(write: Write) -> None:
    write(containers.DOCKER, {"Name": "/a\x1b[2J" + "b" * 500})
    name = container_name(ID)
    assert len(name) == 80
    assert name.isprintable()


def test_a_process_is_inside_its_container_by_name_first() -> None:
    assert Process(1, "x").inside == ""
    assert Process(1, "x", "web.service").inside == "web.service"
    assert Process(1, "x", "docker-1.scope", "0123456789ab").inside == "0123456789ab"
    assert Process(1, "x", "docker-1.scope", "0123456789ab", "web").inside == "web"
