#!/usr/bin/env python3
"""The import law of src/halfopen, and its check: which room may import which.

    cli → api → service → ops → {read, change, store, notify, present} → {linux, wire} → core

An arrow means "may import", along the whole chain. `core` imports numpy, msgspec and the pure standard library. `lab`
stands beside `ops`. The five middle rooms never import each other, and `present` does not import `linux`. `core` and
`wire` touch nothing outside the process. The package itself imports only its api, and lazily.

No circle of files, inside a room either: a file never imports, directly or through others, a file that imports it.

Every import counts, also inside a function and under TYPE_CHECKING: two files that need each other's types cannot be
read, tested or moved one at a time either, and a type that both need has a place of its own below them.

Run: python scripts/import_law.py [SRC]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

PACKAGE: Final = "halfopen"
TOP: Final = "halfopen"

_CORE: Final = frozenset({"core"})
_WIRE: Final = _CORE | {"wire"}
_BELOW: Final = _WIRE | {"linux"}
_MIDDLE: Final = frozenset({"read", "change", "store", "notify", "present"})
_OPS: Final = _BELOW | _MIDDLE | {"ops"}
_SERVICE: Final = _OPS | {"service"}
_API: Final = _SERVICE | {"lab", "api"}
_CLI: Final = _API | {"cli", TOP}

# Room → the rooms it may import. `TOP` is the package's own `__init__.py`.
LAW: Final[dict[str, frozenset[str]]] = {
    "core": _CORE,
    "wire": _WIRE,
    "linux": _CORE | {"linux"},
    **{room: _BELOW | {room} for room in _MIDDLE},
    "present": _WIRE | {"present"},
    "ops": _OPS,
    "service": _SERVICE,
    "lab": _BELOW | {"read", "change", "present", "lab"},
    "api": _API,
    "cli": _CLI,
    "__main__": frozenset({"cli"}),
    TOP: frozenset({"api"}),
}
PURE: Final = frozenset({"core", "wire"})
PURE_THIRD_PARTY: Final = frozenset({"numpy", "msgspec"})
# Time, files, sockets and threads, by every door of the standard library.
IMPURE: Final = frozenset(
    {"socket", "os", "ctypes", "sqlite3", "subprocess", "time", "asyncio", "logging"}
    | {"posix", "_socket", "select", "selectors", "ssl", "http", "socketserver", "syslog"}
    | {"signal", "fcntl", "mmap", "pathlib", "shutil", "tempfile", "glob", "pty"}
    | {"threading", "_thread", "multiprocessing", "concurrent"}
)
# Beside `api`, the package hands out the version, which loads nothing else.
VERSION: Final = "core.version"


@dataclass(frozen=True, order=True)
class Violation:
    """One import that the law forbids."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class _Import:
    target: str  # dotted, absolute; `from m import n` has m, and m.n only where m is the package itself
    line: int
    lazy: bool
    name: str = ""  # n in `from m import n`


@dataclass(frozen=True)
class File:
    """One source file: its dotted module name, whether it is an `__init__.py`, the path to name, and its text."""

    module: str
    is_package: bool
    path: str
    source: str

    @cached_property
    def imports(self) -> tuple[_Import, ...]:
        """What it imports, in the order of its lines. Raises: SyntaxError."""
        return tuple(_imports(self.source, self.path or self.module, self.module, self.is_package))


def check(source: str, module: str, *, is_package: bool = False, path: str = "") -> list[Violation]:
    """The violations in one file. `module` is its dotted name, `is_package` whether it is an `__init__.py`.

    Raises: SyntaxError.
    """
    return _check(File(module, is_package, path, source))


def _check(file: File) -> list[Violation]:
    room = _room(file.module)
    where = file.path or file.module
    if room not in LAW:
        return [Violation(where, 1, f"room {room!r} is not in the import law (scripts/import_law.py)")]
    found = []
    for one in file.imports:
        message = _judge(room, one)
        if message:
            found.append(Violation(where, one.line, message))
    return found


def check_tree(src: Path) -> tuple[list[Violation], int]:
    """The violations in every file below `src`/halfopen, circles included, and how many files were read."""
    files = [_file(src, path) for path in sorted((src / PACKAGE).rglob("*.py"))]
    found = [v for f in files for v in _check(f)]
    return sorted(found + check_circles(files)), len(files)


def _file(src: Path, path: Path) -> File:
    parts = path.relative_to(src).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return File(".".join(parts[:-1] if is_package else parts), is_package, str(path), path.read_text("utf-8"))


def check_circles(files: list[File]) -> list[Violation]:
    """A violation for each group of files that reach one another by their imports."""
    paths = {f.module: f.path for f in files}
    reached = _reachable({f.module: _imported(f, paths) for f in files})
    groups = {frozenset(b for b in after if a in reached[b]) for a, after in reached.items() if a in after}
    return sorted(_circle(sorted(group), paths) for group in groups)


def _imported(file: File, known: Mapping[str, str]) -> frozenset[str]:
    """The files that a file imports, each by the longest name that is one. The packages above them do not count.

    Python runs `a/__init__.py` before `a/b.py`, so every package that re-exports its own files would be a circle.
    """
    found = set()
    for one in file.imports:
        parts = f"{one.target}.{one.name}".strip(".").split(".")
        names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        found.add(next((name for name in names if name in known), ""))
    return frozenset(found) - {"", PACKAGE, file.module}


def _reachable(edges: Mapping[str, frozenset[str]]) -> dict[str, set[str]]:
    """For each file, all that its imports lead to; the file itself only by way of a circle."""
    reached = {}
    for start, first in edges.items():
        seen: set[str] = set()
        ahead = list(first)
        while ahead:
            at = ahead.pop()
            if at not in seen:
                seen.add(at)
                ahead += edges[at]
        reached[start] = seen
    return reached


def _circle(modules: list[str], paths: Mapping[str, str]) -> Violation:
    names = ", ".join(m.removeprefix(f"{PACKAGE}.") for m in modules)
    return Violation(paths[modules[0]], 1, f"a circle of imports: {names}")


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else TOP


def _judge(room: str, one: _Import) -> str | None:
    """Why `room` may not do this import; None when it may."""
    top, _, rest = one.target.partition(".")
    if top == PACKAGE:
        return _judge_own(room, one, rest)
    if room == TOP and top != "__future__" and top not in sys.stdlib_module_names:
        return f"the package itself must not import {one.target}: it is loaded for its version alone"
    if room not in PURE:
        return None
    if top in IMPURE or one.target.startswith("urllib.request"):
        return f"{room} must not import {top}: it is pure (time, files and sockets are its callers' business)"
    if top not in sys.stdlib_module_names and top not in PURE_THIRD_PARTY:
        return f"{room} must not import {top}: it knows {', '.join(sorted(PURE_THIRD_PARTY))} and the standard library"
    return None


def _judge_own(room: str, one: _Import, rest: str) -> str | None:
    if room == TOP and one.lazy and rest.startswith(VERSION):
        return None
    # A name that is no room is one that the package's own __init__ hands out.
    to = rest.split(".")[0]
    if to not in LAW:
        to = TOP
    if to not in LAW[room]:
        allowed = ", ".join(sorted(LAW[room])) or "no other room"
        return f"{room} must not import {one.target} (it may import: {allowed})"
    if room == TOP and not one.lazy:
        return f"the package itself may import {one.target} only inside a function or under TYPE_CHECKING"
    return None


def _imports(source: str, where: str, module: str, is_package: bool) -> Iterator[_Import]:
    base = module if is_package else module.rpartition(".")[0]
    tree = ast.parse(source, where)
    # Imports are statements; only those made by a call are looked for inside expressions, which are most of a tree.
    calls = "import_module" in source or "__import__" in source
    ahead: list[tuple[ast.AST, bool]] = [(tree, False)]
    while ahead:
        node, lazy = ahead.pop()
        if isinstance(node, ast.Import):
            yield from (_Import(name.name, node.lineno, lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, base)
            own = start == PACKAGE
            # `from halfopen import api` means a room; below it the module alone says which room.
            yield from (
                _Import(f"{start}.{n.name}" if own else start, node.lineno, lazy, "" if own else n.name)
                for n in node.names
            )
        elif isinstance(node, ast.Call):
            yield from _called(node, lazy)
        ahead += reversed(list(_inside(node, lazy, calls)))


# What holds statements.
_BLOCKS: Final = ("body", "handlers", "cases", "orelse", "finalbody")


def _inside(node: ast.AST, lazy: bool, calls: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes below one, expressions among them if `calls`, and whether each runs later than the file is read."""
    lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    guarded = isinstance(node, ast.If) and _names_type_checking(node.test)
    if calls:
        for child in ast.iter_child_nodes(node):
            yield child, lazy or (isinstance(node, ast.If) and guarded and child in node.body)
        return
    for name in _BLOCKS:
        for child in getattr(node, name, ()):
            yield child, lazy or (guarded and name == "body")


def _absolute(node: ast.ImportFrom, base: str) -> str:
    if not node.level:
        return node.module or ""
    parts = base.split(".")
    above = ".".join(parts[: len(parts) - node.level + 1]) or PACKAGE
    return f"{above}.{node.module}" if node.module else above


def _called(node: ast.Call, lazy: bool) -> Iterator[_Import]:
    """`importlib.import_module("…")` and `__import__("…")`: their start counts, as far as it is written out."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in ("import_module", "__import__") or not node.args:
        return
    first = node.args[0]
    if isinstance(first, ast.JoinedStr) and first.values:
        first = first.values[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield _Import(first.value.rstrip("."), node.lineno, lazy)


def _names_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def main(arguments: list[str]) -> int:
    """Check a source tree; print what breaks the law. Exit code 0 or 1."""
    src = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "src"
    violations, files = check_tree(src)
    for violation in violations:
        print(violation)
    if not files:
        print(f"import law: no file below {src / PACKAGE}")
    else:
        print(f"import law: {files} files, {len(violations) or 'no'} violation{'' if len(violations) == 1 else 's'}")
    return 1 if violations or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
