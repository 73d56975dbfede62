"""ARCHITECTURE.md names only files, modules and symbols that exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/halfopen"
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", TEXT))
PATH = re.compile(r"[\w.-]+(/[\w.-]+)+|[\w-]+\.(py|po|js|toml)")
# Names of the kernel, and a name that stands for others.
NOT_OURS = {"iter/tcp", "iter/task", "cgroup_skb/ingress", "BPF_PROG_TEST_RUN", "x_s"}


def quoted(pattern: str) -> list[str]:
    return sorted(name for name in QUOTED - NOT_OURS if re.fullmatch(pattern, name))


def is_path(name: str) -> bool:
    """Whether a text may name it so: below the root or the package, without its suffix, or by its last part."""
    places = [base / f"{name}{suffix}" for base in (ROOT, PACKAGE) for suffix in ("", ".py")]
    return any(place.exists() for place in places) or ("/" not in name and any(ROOT.glob(f"[a-z]*/**/{name}")))


def is_symbol(parts: Sequence[str]) -> bool:
    """Whether it is a module of the package, or an attribute of one."""
    for n in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["halfopen", *parts[:n]]))
        except ImportError:
            continue
        for part in parts[n:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def words() -> set[str]:
    """Every word of the code: names of functions, classes, tables, threads, commands."""
    kinds = ("src/**/*.py", "src/**/*.js", "bpf/*", "tests/**/*.py", "scripts/*.py")
    paths = {path for kind in kinds for path in ROOT.glob(kind) if path.is_file()} - {Path(__file__)}
    return {word for path in paths for word in re.findall(r"\w+", path.read_text("utf-8"))}


def test_every_path_exists() -> None:
    paths = quoted(PATH.pattern)
    assert len(paths) > 50
    assert [name for name in paths if not is_path(name)] == []


def test_every_module_and_its_symbol_exists() -> None:
    known = words()
    dotted = [name for name in quoted(r"[a-z_]\w*(\.\w+)+") if not PATH.fullmatch(name)]
    # Others are a class or a registry with an attribute, as in `policy.step`.
    missing = [name for name in dotted if not is_symbol(name.split(".")) and not set(name.split(".")) <= known]
    assert len(dotted) > 20
    assert missing == []


def test_every_name_is_in_the_code() -> None:
    known = words()
    assert [name for name in quoted(r"@?[A-Za-z_]{3}\w*") if name.removeprefix("@") not in known] == []


def test_names_that_are_not_there_are_found() -> None:
    assert not is_path("core/sample/nothing.py")
    assert not is_path("nothing_at_all.py")
    assert not is_symbol(["core", "model", "columns", "Nothing"])
    assert "NothingOfTheKind" + "AtAll" not in words()


def test_lines_are_short() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > 120 and not line.startswith("|")] == []
