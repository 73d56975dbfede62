"""The names of containers, as their runtimes wrote them down: Docker, Podman, CRI-O, containerd and nerdctl."""

from __future__ import annotations

import json
from typing import Any, Final

from halfopen.core.errors import DAMAGED
from halfopen.core.units import printable
from halfopen.linux import small_files

# {id}: of the container, 64 digits. Runtimes are not asked through their sockets; these are the files they write.
DOCKER: Final = "/var/lib/docker/containers/{id}/config.v2.json"
CONTAINERD: Final = tuple(
    f"/run/containerd/io.containerd.runtime.v2.task/{namespace}/{{id}}/config.json"
    for namespace in ("k8s.io", "default", "moby")
)
STORAGE: Final = "/run/containers/storage/overlay-containers/{id}/userdata/config.json"
PODMAN: Final = "/var/lib/containers/storage/overlay-containers/containers.json"

# The annotations that name a container, in the order in which they are looked for: (of the pod, of the container).
_ANNOTATIONS: Final = (
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"),
    ("io.kubernetes.pod.name", "io.kubernetes.container.name"),
    ("", "nerdctl/name"),
)
_BYTES_MOST: Final = 4 * 1024 * 1024
_NAME_MOST: Final = 80
_KNOWN_MOST: Final = 1024
_known: dict[str, str] = {}


def container_name(id: str) -> str:
    """The name of the container with this id (64 digits), `pod/container` in Kubernetes; empty if no record has it.

    A name is remembered once it was found. A missing one is looked for again, because a runtime writes its record a
    moment after the container's first process has started.
    """
    found = _known.get(id)
    if found is None:
        found = next(filter(None, (look(id) for look in (_docker, _annotated, _podman))), "")
        if found:
            if len(_known) >= _KNOWN_MOST:
                _known.clear()
            _known[id] = found
    return found


def _document(path: str) -> Any:
    try:
        return json.loads(small_files.read(path, _BYTES_MOST) or b"null")
    except DAMAGED:
        return None


def _docker(id: str) -> str:
    document = _document(DOCKER.format(id=id))
    if not isinstance(document, dict):
        return ""
    config = document.get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    return _labelled(labels) or _clean(str(document.get("Name") or "").removeprefix("/"))


def _annotated(id: str) -> str:
    for path in (*CONTAINERD, STORAGE):
        document = _document(path.format(id=id))
        if isinstance(document, dict) and (name := _labelled(document.get("annotations"))):
            return name
    return ""


def _podman(id: str) -> str:
    document = _document(PODMAN)
    for one in document if isinstance(document, list) else ():
        if isinstance(one, dict) and one.get("id") == id:
            names = one.get("names")
            return _clean(str(names[0])) if isinstance(names, list) and names else ""
    return ""


def _labelled(labels: Any) -> str:
    """The name in labels or annotations, with the pod's before it."""
    if not isinstance(labels, dict):
        return ""
    for pod, container in _ANNOTATIONS:
        names = [_clean(str(labels[key])) for key in (pod, container) if key and labels.get(key)]
        if names:
            return "/".join(names)
    return ""


def _clean(name: str) -> str:
    """The name, printable and shortened: the user who starts a container chooses it."""
    return printable(name)[:_NAME_MOST]
