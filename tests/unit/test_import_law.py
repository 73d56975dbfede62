"""The import law holds, and its check can fail: each way of breaking it is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

import import_law
from import_law import File, check, check_circles, check_tree

SRC = Path(__file__).resolve().parents[2] / "src"


def test_the_tree_keeps_the_law() -> None:
    violations, files = check_tree(SRC)
    assert files > 10
    assert [str(v) for v in violations] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("halfopen.core.model.model", "import socket"),
        ("halfopen.core.model.model", "import os.path"),
        ("halfopen.core.model.model", "from time import monotonic"),
        ("halfopen.core.model.model", "def f():\n    import asyncio"),
        ("halfopen.core.model.model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import logging"),
        ("halfopen.core.model.model", "__import__('subprocess')"),
        ("halfopen.core.model.model", "import importlib\nimportlib.import_module('halfopen.read')"),
        ("halfopen.core.model.model", "import importlib\nimportlib.import_module(f'halfopen.read.{x}')"),
        ("halfopen.core.model.model", "import rich"),
        ("halfopen.core.model", "from halfopen import wire"),
        ("halfopen.core.model", "from halfopen.wire.netlink import WireError"),
        ("halfopen.core.model", "from halfopen import snapshot"),
        ("halfopen.core.model.model", "import halfopen"),
        ("halfopen.core.model.model", "from ...linux import netns"),
        ("halfopen.core.model.model", "from ... import read"),
        ("halfopen.wire.netlink", "import ctypes"),
        ("halfopen.wire.netlink", "import halfopen.linux.netns"),
        ("halfopen.read.reader", "from halfopen.change import destroy"),
        ("halfopen.change.destroy", "from halfopen.read import sockdiag"),
        ("halfopen.linux.netns", "from halfopen.read import sockdiag"),
        ("halfopen.linux.netns", "from halfopen.wire import netlink"),
        ("halfopen.present.text", "from halfopen.linux import netns"),
        ("halfopen.store.history", "from halfopen.present import text"),
        ("halfopen.notify.webhook", "from halfopen.store import history"),
        ("halfopen.present.text", "from halfopen.ops.watch import loop as watch"),
        ("halfopen.ops.watch.loop", "from halfopen.lab import Lab"),
        ("halfopen.ops.watch.loop", "from halfopen import api"),
        ("halfopen.lab.lab", "from halfopen.ops.watch import loop as watch"),
        ("halfopen.lab.lab", "from halfopen.cli.main import main"),
        ("halfopen.api", "from halfopen.cli import main"),
        ("halfopen.__main__", "from halfopen.core.model import model"),
        ("halfopen", "from halfopen import api"),
        ("halfopen", "import numpy"),
        ("halfopen", "from halfopen.core.version import __version__"),
        ("halfopen.core.model", "from halfopen import __version__"),
        ("halfopen", "def f():\n    from halfopen.core.model import model"),
        ("halfopen.cellar.wine", ""),
    ],
)
def test_a_breach_is_caught(module: str, source: str) -> None:
    found = check(source, module, is_package=module == "halfopen")
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "halfopen.core.model.model",
            "import numpy\nimport msgspec, ipaddress\nfrom halfopen.core.model import timing",
        ),
        ("halfopen.core.model.model", "from . import timing\nfrom .timing import age"),
        ("halfopen.notify.http_post", "from halfopen.core.version import __version__"),
        ("halfopen.wire.netlink", "from halfopen.core.errors import HalfopenError"),
        ("halfopen.read.reader", "import os, socket\nfrom halfopen.wire import inet_diag"),
        ("halfopen.ops.watch.loop", "from halfopen.read import reader\nfrom halfopen.store import history"),
        ("halfopen.lab.lab", "from halfopen.linux import netns\nfrom halfopen.present import text"),
        ("halfopen.api", "from halfopen.ops.watch import loop as watch"),
        ("halfopen.cli.lab", "import halfopen\nfrom halfopen import api, snapshot\nfrom halfopen.lab import Lab"),
        ("halfopen.__main__", "from halfopen.cli.main import main"),
        ("halfopen", "def __getattr__(name):\n    from halfopen import api"),
        ("halfopen", "def __getattr__(name):\n    from halfopen.core.version import __version__"),
        ("halfopen", "if TYPE_CHECKING:\n    from halfopen.api import snapshot"),
    ],
)
def test_what_the_law_allows_passes(module: str, source: str) -> None:
    assert check(source, module, is_package=module == "halfopen") == []


def test_else_of_type_checking_is_not_lazy() -> None:
    source = "if TYPE_CHECKING:\n    pass\nelse:\n    from halfopen import api"
    assert len(check(source, "halfopen", is_package=True)) == 1


def test_middle_rooms_never_import_each_other() -> None:
    rooms = ("read", "change", "store", "notify", "present")
    for room in rooms:
        for other in rooms:
            found = check(f"from halfopen.{other} import x", f"halfopen.{room}.y")
            assert bool(found) == (room != other), (room, other)


def files(**sources: str) -> list[File]:
    """Files of one room, by name; `init` is the room's own `__init__.py`."""
    return [
        File("halfopen.read" if name == "init" else f"halfopen.read.{name}", name == "init", f"{name}.py", source)
        for name, source in sources.items()
    ]


def circles(**sources: str) -> list[str]:
    return [str(v) for v in check_circles(files(**sources))]


TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    "back",
    [
        "from halfopen.read import a",
        "from halfopen.read.a import thing",
        "import halfopen.read.a",
        "from . import a",
        "from .a import thing",
        "def f():\n    from halfopen.read import a",
        TYPES + "from halfopen.read.a import Thing",
        "import importlib\nimportlib.import_module('halfopen.read.a')",
    ],
)
def test_a_circle_of_two_files_is_caught(back: str) -> None:
    assert circles(a="from halfopen.read import b", b="import os", c=back) == []
    assert circles(a="from halfopen.read import b", b=back) == ["a.py:1: a circle of imports: read.a, read.b"]


def test_a_circle_of_three_files_is_caught_once() -> None:
    links = {
        "a": "from halfopen.read.b import x",
        "b": "from halfopen.read import c",
        "c": TYPES + "from .a import y",
        "d": "from halfopen.read import a, b, c",  # leads into the circle and is not part of it
    }
    assert circles(**links) == ["a.py:1: a circle of imports: read.a, read.b, read.c"]
    assert circles(**{**links, "c": "from halfopen.read import e", "e": ""}) == []


def test_two_circles_are_two() -> None:
    assert circles(a="from . import b", b="from . import a, c", c="from . import d", d="from . import c") == [
        "a.py:1: a circle of imports: read.a, read.b",
        "c.py:1: a circle of imports: read.c, read.d",
    ]


def test_a_package_that_hands_out_its_files_is_no_circle_until_one_of_them_asks_it() -> None:
    init = "from halfopen.read.a import thing\n"
    assert circles(init=init, a="from halfopen.read import b", b="") == []
    assert circles(init=init, a="from halfopen.read import other") == ["init.py:1: a circle of imports: read, read.a"]


def test_the_script_names_a_circle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = tmp_path / "halfopen" / "read"
    room.mkdir(parents=True)
    (room / "one.py").write_text("from halfopen.read import two\n")
    (room / "two.py").write_text("def f():\n    from halfopen.read import one\n")
    assert import_law.main([str(tmp_path)]) == 1
    assert f"{room / 'one.py'}:1: a circle of imports: read.one, read.two" in capsys.readouterr().out


def test_the_script_fails_and_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "halfopen" / "core" / "bad.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("import numpy\n\nimport socket\n")
    assert import_law.main([str(tmp_path)]) == 1
    assert f"{bad}:3: core must not import socket" in capsys.readouterr().out


def test_an_empty_tree_is_not_a_pass(tmp_path: Path) -> None:
    assert import_law.main([str(tmp_path)]) == 1
