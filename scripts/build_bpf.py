#!/usr/bin/env python3
"""Compile bpf/*.bpf.c into src/halfopen/linux/bpf/objects, and tell whether sources and objects agree.

    build_bpf.py build [--all] [--pinned]   compile what changed (or all), write the manifest
    build_bpf.py check                      compare with the manifest; compiles nothing
    build_bpf.py verify                     compile all again with the pinned compiler and compare the bytes

The compiler: $HALFOPEN_CLANG, else clang where there is one, else PyPI's ziglang; with --pinned, and for what is
committed, the ziglang that the extra `bpf` in pyproject.toml names. The objects are for little-endian machines.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = "bpf"
OBJECTS: Final = "src/halfopen/linux/bpf/objects"
MANIFEST: Final = "MANIFEST.json"
CLANG: Final = "HALFOPEN_CLANG"
REPAIR: Final = "run: make bpf"

# Neither where nor when it was compiled may show in an object. Old kernels know no instructions above v3.
FLAGS: Final = (
    *("-O2", "-g", "-mcpu=v3", "-std=gnu11", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unknown-warning-option"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fdebug-compilation-dir=.", "-nostdinc"),
)

Manifest = dict[str, dict[str, str]]


class BuildError(Exception):
    """What went wrong and what to do, in a few lines."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """How to call it, what it is (name and version), and what it needs in its environment."""

    words: tuple[str, ...]
    name: str
    environment: tuple[tuple[str, str], ...] = ()


def requirement(root: Path = ROOT) -> str:
    """The pinned compiler as pip is asked for it: `ziglang==X.Y.Z`."""
    with (root / "pyproject.toml").open("rb") as f:
        (found,) = tomllib.load(f)["project"]["optional-dependencies"]["bpf"]
    return str(found)


def own_clang() -> str | None:
    """The clang of this machine: $HALFOPEN_CLANG, or the one on PATH."""
    return os.environ.get(CLANG) or shutil.which("clang")


def compiler(cache: Path, *, pinned: bool = False, root: Path = ROOT) -> Compiler:
    """The compiler to use; `cache` is a directory it may fill. Raises: BuildError when there is none."""
    clang = None if pinned else own_clang()
    if clang:
        words: tuple[str, ...] = (clang, "--target=bpfel")
        return Compiler(words, _first_line(clang, "--version"))
    wanted = requirement(root)
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError(f"no compiler for eBPF programs; install clang, or: pip install {wanted}")
    version = importlib.metadata.version("ziglang")
    if pinned and wanted != f"ziglang=={version}":
        raise BuildError(f"this is ziglang {version}, not the pinned one; pip install {wanted}")
    zig = (sys.executable, "-m", "ziglang", "cc")
    places = tuple((name, str(cache)) for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"))
    return Compiler((*zig, "-target", "bpfel-freestanding"), f"ziglang {version}", places)


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as e:
        raise BuildError(f"{command[0]} does not run ({e}); name another with {CLANG}, or install ziglang") from None


def names(root: Path = ROOT) -> list[str]:
    """The programs there are, by the names of their sources: bpf/<name>.bpf.c."""
    return sorted(path.name.removesuffix(".bpf.c") for path in (root / SOURCES).glob("*.bpf.c"))


def source_hash(name: str, root: Path = ROOT) -> str:
    """sha256 over all an object is made of: its source, every header, the flags."""
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for path in [root / SOURCES / f"{name}.bpf.c", *sorted((root / SOURCES).glob("*.h"))]:
        digest.update(f"\0{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()


def _object(name: str, root: Path) -> Path:
    return root / OBJECTS / f"{name}.bpf.o"


def _object_hash(name: str, root: Path) -> str:
    try:
        return hashlib.sha256(_object(name, root).read_bytes()).hexdigest()
    except OSError:
        return ""


def read_manifest(root: Path = ROOT) -> Manifest:
    """Program → {source, object: sha256; compiler: name and version}; empty when there is none."""
    try:
        found: Manifest = json.loads((root / OBJECTS / MANIFEST).read_text("utf-8"))["objects"]
        return found
    except (OSError, ValueError, KeyError):
        return {}


def disagreements(root: Path = ROOT) -> dict[str, str]:
    """Program → in what its source, its object and the manifest disagree; empty when all is well."""
    manifest, found = read_manifest(root), {}
    for name in names(root):
        entry, built = manifest.get(name, {}), _object_hash(name, root)
        if not built:
            found[name] = f"{OBJECTS}/{name}.bpf.o is missing"
        elif entry.get("source") != source_hash(name, root):
            found[name] = f"{OBJECTS}/{name}.bpf.o is not made from {SOURCES}/{name}.bpf.c and the headers as they are"
        elif entry.get("object") != built:
            found[name] = f"{OBJECTS}/{name}.bpf.o is not the one that {MANIFEST} names"
    objects = {path.name.removesuffix(".bpf.o") for path in (root / OBJECTS).glob("*.bpf.o")}
    for name in sorted((objects | set(manifest)) - set(names(root))):
        found[name] = f"{OBJECTS}/{name}.bpf.o has no source {SOURCES}/{name}.bpf.c"
    return found


def compile_one(name: str, out: Path, by: Compiler, root: Path = ROOT) -> None:
    """Compile one program into the file `out`. Raises: BuildError with the compiler's words."""
    command = (*by.words, *FLAGS, "-c", f"{name}.bpf.c", "-o", str(out))
    # A header of this machine must not come in by the environment.
    environment = {key: value for key, value in os.environ.items() if key not in ("CPATH", "C_INCLUDE_PATH")}
    environment.update(by.environment)
    done = subprocess.run(command, cwd=root / SOURCES, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        raise BuildError(f"{by.name} does not compile {SOURCES}/{name}.bpf.c:\n{done.stderr or done.stdout}".rstrip())


def build(wanted: list[str], *, pinned: bool = False, root: Path = ROOT) -> Compiler:
    """Compile these programs into the tree and note them in the manifest; drop objects without a source.

    Raises: BuildError; then nothing is changed.
    """
    manifest = read_manifest(root)
    with tempfile.TemporaryDirectory(prefix="halfopen-bpf-") as place:
        by = compiler(Path(place) / "cache", pinned=pinned, root=root)
        made = {name: Path(place) / f"{name}.bpf.o" for name in wanted}
        for name, out in made.items():
            compile_one(name, out, by, root)
        (root / OBJECTS).mkdir(parents=True, exist_ok=True)
        for name, out in made.items():
            shutil.copyfile(out, _object(name, root))
            entry = {"source": source_hash(name, root), "object": _object_hash(name, root), "compiler": by.name}
            manifest[name] = entry
    for name in set(disagreements(root)) - set(names(root)):
        _object(name, root).unlink(missing_ok=True)
    kept = {name: manifest[name] for name in names(root) if name in manifest}
    text = json.dumps({"schema": "halfopen.bpf-objects/1", "objects": kept}, indent=2)
    (root / OBJECTS / MANIFEST).write_text(text + "\n", "utf-8")
    return by


def stale(*, pinned: bool = False, root: Path = ROOT) -> list[str]:
    """The programs whose objects have to be compiled; with `pinned` also those that another compiler made."""
    manifest, wrong, by = read_manifest(root), disagreements(root), requirement(root).replace("==", " ")
    return [name for name in names(root) if name in wrong or (pinned and manifest[name].get("compiler") != by)]


def verify(root: Path = ROOT) -> list[str]:
    """A line for each object that the pinned compiler makes otherwise. Raises: BuildError."""
    found = []
    with tempfile.TemporaryDirectory(prefix="halfopen-bpf-") as place:
        by = compiler(Path(place) / "cache", pinned=True, root=root)
        for name in names(root):
            out = Path(place) / f"{name}.bpf.o"
            compile_one(name, out, by, root)
            if not _object(name, root).is_file() or out.read_bytes() != _object(name, root).read_bytes():
                found.append(f"{OBJECTS}/{name}.bpf.o is not what {by.name} makes of {SOURCES}/{name}.bpf.c")
    return found


def main(arguments: list[str]) -> int:
    """Run one of the three; exit code 0, or 1 with a line for each disagreement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("build", "check", "verify"))
    parser.add_argument("--all", action="store_true", help="build: also what has not changed")
    parser.add_argument("--pinned", action="store_true", help="build: with the pinned ziglang, whatever else there is")
    options = parser.parse_args(arguments)
    count = len(names())
    try:
        if options.what == "build":
            wanted = names() if options.all else stale(pinned=options.pinned)
            if wanted or disagreements():
                by = build(wanted, pinned=options.pinned)
                print(f"eBPF objects: {len(wanted)} of {count} compiled with {by.name}: {', '.join(wanted) or 'none'}")
            else:
                print(f"eBPF objects: {count}, all as their sources are")
            return 0
        lines = verify() if options.what == "verify" else list(disagreements().values())
    except BuildError as e:
        print(f"eBPF objects: {e}", file=sys.stderr)
        return 1
    for line in lines:
        print(f"{line} ({REPAIR})")
    if not lines:
        what = "the same bytes when compiled again" if options.what == "verify" else "as their sources are"
        print(f"eBPF objects: {count}, {what}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
