"""The eBPF objects: they fit their sources, a change is noticed, and packages carry them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build_bpf
from halfopen.linux.bpf.bpf_object import OBJECTS

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("bpf", "scripts", "src/halfopen/linux/bpf/objects", "pyproject.toml")


def test_the_objects_fit_their_sources() -> None:
    assert build_bpf.disagreements() == {}, "run: make bpf"
    assert build_bpf.stale() == []


def test_the_manifest_names_every_object_and_the_pinned_compiler() -> None:
    manifest = build_bpf.read_manifest()
    assert sorted(manifest) == build_bpf.names() == sorted(p.name.removesuffix(".bpf.o") for p in OBJECTS.glob("*.o"))
    assert {entry["compiler"] for entry in manifest.values()} == {build_bpf.requirement().replace("==", " ")}


def test_objects_are_for_ebpf_and_name_no_place() -> None:
    for path in OBJECTS.glob("*.bpf.o"):
        data = path.read_bytes()
        # ELF, 64 bit, little-endian; relocatable, EM_BPF.
        assert data[:6] == b"\x7fELF\x02\x01"
        assert data[16:20] == b"\x01\x00\xf7\x00"
        assert b"/home/" not in data
        assert b"/work" not in data
        assert b"/tmp" not in data


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what building objects takes."""
    for name in EXTRAS:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    return tmp_path


def check(tree: Path) -> list[str]:
    """What `build_bpf.py check` prints there, run as a program; none when it exits with 0."""
    command = [sys.executable, str(tree / "scripts" / "build_bpf.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (" (run: make bpf)" not in done.stdout)
    return done.stdout.splitlines() if done.returncode else []


def test_a_copy_agrees(tree: Path) -> None:
    assert check(tree) == []


def test_a_changed_source_is_noticed(tree: Path) -> None:
    with (tree / "bpf" / "pulse.bpf.c").open("a") as f:
        f.write("/* changed */\n")
    (line,) = check(tree)
    assert "pulse.bpf.o is not made from bpf/pulse.bpf.c" in line
    assert build_bpf.stale(root=tree) == ["pulse"]


def test_a_changed_header_concerns_every_object(tree: Path) -> None:
    with (tree / "bpf" / "events.h").open("a") as f:
        f.write("/* changed */\n")
    assert build_bpf.stale(root=tree) == build_bpf.names()
    assert len(check(tree)) == len(build_bpf.names())


def test_a_changed_missing_or_orphaned_object_is_noticed(tree: Path) -> None:
    objects = tree / build_bpf.OBJECTS
    with (objects / "pulse.bpf.o").open("ab") as f:
        f.write(b"\0")
    (objects / "census.bpf.o").unlink()
    shutil.copyfile(objects / "door.bpf.o", objects / "stray.bpf.o")
    lines = "\n".join(check(tree))
    assert "pulse.bpf.o is not the one that MANIFEST.json names" in lines
    assert "census.bpf.o is missing" in lines
    assert "stray.bpf.o has no source" in lines
    assert len(lines.splitlines()) == 3


def test_without_a_manifest_all_are_stale(tree: Path) -> None:
    (tree / build_bpf.OBJECTS / build_bpf.MANIFEST).unlink()
    assert build_bpf.stale(root=tree) == build_bpf.names()
    assert build_bpf.stale(pinned=True, root=tree) == build_bpf.names()


COMPILER = f"""#!{sys.executable}
# Stands in for clang: says its version, and 'compiles' by copying the source.
import shutil, sys
words = sys.argv[1:]
if "--version" in words:
    print("clang version 99.0"); sys.exit()
source, out = words[words.index("-c") + 1], words[words.index("-o") + 1]
if "#error" in open(source).read():
    print(source + ":1: error: asked for", file=sys.stderr); sys.exit(1)
shutil.copyfile(source, out)
"""


@pytest.fixture
def clang(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("clang") / "clang"
    path.write_text(COMPILER)
    path.chmod(0o755)
    monkeypatch.setenv(build_bpf.CLANG, str(path))
    return path


def test_build_compiles_what_changed_and_notes_by_what(tree: Path, clang: Path) -> None:
    source, before = tree / "bpf" / "pulse.bpf.c", build_bpf.read_manifest(tree)
    source.write_text("/* changed */\n")
    build_bpf.build(build_bpf.stale(root=tree), root=tree)
    after = build_bpf.read_manifest(tree)
    assert after["pulse"]["compiler"] == "clang version 99.0"
    assert {name: after[name] for name in after if name != "pulse"} == {
        name: before[name] for name in before if name != "pulse"
    }
    assert (tree / build_bpf.OBJECTS / "pulse.bpf.o").read_text() == "/* changed */\n"
    assert build_bpf.disagreements(tree) == {}
    # Good enough for a build; what is committed comes from the pinned compiler.
    assert build_bpf.stale(root=tree) == []
    assert build_bpf.stale(pinned=True, root=tree) == ["pulse"]


def test_a_program_that_does_not_compile_changes_nothing(tree: Path, clang: Path) -> None:
    (tree / "bpf" / "pulse.bpf.c").write_text("#error\n")
    (tree / "bpf" / "census.bpf.c").write_text("/* changed */\n")
    manifest = build_bpf.read_manifest(tree)
    with pytest.raises(build_bpf.BuildError, match=r"(?s)does not compile bpf/pulse.bpf.c:.*error: asked for"):
        build_bpf.build(["census", "pulse"], root=tree)
    assert build_bpf.read_manifest(tree) == manifest
    assert build_bpf.stale(root=tree) == ["census", "pulse"]


def test_an_object_without_a_source_goes(tree: Path, clang: Path) -> None:
    (tree / "bpf" / "pulse.bpf.c").unlink()
    build_bpf.build([], root=tree)
    assert "pulse" not in build_bpf.read_manifest(tree)
    assert not (tree / build_bpf.OBJECTS / "pulse.bpf.o").exists()
    assert build_bpf.disagreements(tree) == {}


def test_a_compiler_that_is_not_there_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build_bpf.CLANG, "/nonexistent/clang")
    with pytest.raises(build_bpf.BuildError, match="/nonexistent/clang does not run"):
        build_bpf.build(["pulse"], root=tree)


def hatch(tree: Path, target: str) -> Path:
    """Build a package there, and where it is."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (tree / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def packed_objects(wheel: Path) -> dict[str, bytes]:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as z:
        return {Path(name).name: z.read(name) for name in z.namelist() if "/bpf/objects/" in name}


@pytest.fixture
def whole_tree(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "tests", "bench")
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=ignore))


@pytest.mark.slow  # builds packages
def test_wheel_sdist_and_the_wheel_from_the_sdist_carry_the_objects(whole_tree: Path, tmp_path: Path) -> None:
    objects = {path.name: path.read_bytes() for path in OBJECTS.iterdir()}
    assert packed_objects(hatch(whole_tree, "wheel")) == objects
    # Python's own tarfile asks for a filter, or knows none, by version.
    (tmp_path / "sdist").mkdir()
    subprocess.run(["tar", "-xzf", hatch(whole_tree, "sdist"), "-C", tmp_path / "sdist"], check=True)
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert {path.name for path in (unpacked / "bpf").iterdir()} == {path.name for path in (ROOT / "bpf").iterdir()}
    assert packed_objects(hatch(unpacked, "wheel")) == objects


@pytest.mark.slow  # builds packages
def test_a_build_compiles_what_changed(whole_tree: Path, clang: Path) -> None:
    (whole_tree / "bpf" / "pulse.bpf.c").write_text("/* changed */\n")
    assert packed_objects(hatch(whole_tree, "wheel"))["pulse.bpf.o"] == b"/* changed */\n"


@pytest.mark.slow  # builds packages
def test_a_build_asks_for_a_compiler_only_when_it_has_to_compile(
    whole_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(build_bpf.CLANG, raising=False)
    # No clang on this PATH.
    monkeypatch.setenv("PATH", str(whole_tree))
    ask = "from hatchling.build import get_requires_for_build_wheel as ask; print(*ask())"

    def asked() -> list[str]:
        done = subprocess.run([sys.executable, "-c", ask], cwd=whole_tree, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert asked() == []
    (whole_tree / "bpf" / "pulse.bpf.c").write_text("/* changed */\n")
    assert asked() == [build_bpf.requirement()]
