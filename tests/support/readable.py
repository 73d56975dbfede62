"""This checkout where everybody may read it: root's own clone may lie where nobody else can look.

Tests that become another user start `python()` with `PYTHONPATH` set to `path()`. Both are this run's own where that
user can read them; else halfopen and what it needs are copied, for as long as this process lives, and the interpreter
is the one that the virtual environment was made with.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import pytest

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
SRC = Path(__file__).parents[2] / "src"
_TRY = "import click, msgspec, rich.table, halfopen.read.reader; print(halfopen.__file__)"
# setpriv still has root's rights when it starts a program; what that program starts shows what the user may.
_AGAIN = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"


def python(*, starts_others: bool = False) -> str:
    """An interpreter that everybody may start. starts_others: and that can start itself again as another user.

    Skips the test where there is none.
    """
    interpreter, _, again = _place()
    if starts_others and not again:
        pytest.skip(f"needs a Python {_version()} that other users may start, as in /usr/bin; {interpreter} is closed")
    return interpreter


def path() -> str:
    """The directories of halfopen and of what it needs, for PYTHONPATH, readable to everybody."""
    return _place()[1]


@lru_cache(maxsize=1)
def _place() -> tuple[str, str, bool]:
    if os.geteuid() != 0 or _works(sys.executable, str(SRC), again=True):
        return sys.executable, str(SRC), True
    real = os.path.realpath(sys.executable)
    # Often the interpreter alone is closed: copying what it needs takes longer than most tests.
    here = f"{SRC}{os.pathsep}{sysconfig.get_path('purelib')}"
    for where in (lambda: here, lambda: _copy(tempfile.mkdtemp(prefix="halfopen-readable-"))):
        place = where()
        for again in (True, False):
            for interpreter in (real, _system_python()):
                if interpreter and _works(interpreter, place, again=again):
                    return interpreter, place, again
    pytest.skip(f"needs a Python {_version()} that other users may start, as in /usr/bin; {real} is closed")


def _works(interpreter: str, where: str, *, again: bool) -> bool:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": where, "PYTHONDONTWRITEBYTECODE": "1"}
    words = [*AS_NOBODY, interpreter, "-c", *([_AGAIN] if again else []), _TRY]
    try:
        done = subprocess.run(words, env=variables, cwd="/", capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs setpriv, to become another user: apt-get install util-linux")
    # An installed halfopen may be another one.
    return done.returncode == 0 and done.stdout.startswith(f"{where.split(os.pathsep)[0]}/")


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _system_python() -> str | None:
    return shutil.which(f"python{_version()}", path="/usr/bin:/bin:/usr/local/bin")


def copied() -> str:
    """A directory, readable to everybody, with `src` and `packages`: halfopen and what it needs, for as long as this
    process lives; with its byte code, as nobody could write that there.
    """
    place = tempfile.mkdtemp(prefix="halfopen-readable-")
    _copy(place, compiled=True)
    return place


def _copy(place: str, *, compiled: bool = False) -> str:
    """Copy halfopen and what it needs below `place`. compiled: with the byte code there is."""
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    shutil.copytree(SRC, f"{place}/src", ignore=None if compiled else shutil.ignore_patterns("__pycache__"))
    for name in _needed():
        for file in metadata.distribution(name).files or ():
            wanted = not {"..", "tests"} & set(file.parts) and (compiled or file.suffix != ".pyc")
            if wanted and not file.is_absolute():
                target = Path(place, "packages", file)
                target.parent.mkdir(parents=True, exist_ok=True)
                # With its times: byte code is valid for a source of that time.
                shutil.copy2(file.locate(), target)
    subprocess.run(["chmod", "--recursive", "a+rX", place], check=True)
    return f"{place}/src:{place}/packages"


def _needed() -> set[str]:
    """The distributions that halfopen needs to run, and those that they need."""
    found: set[str] = set()
    ahead = ["halfopen"]
    while ahead:
        for line in metadata.requires(ahead.pop()) or ():
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
            if ";" not in line and name not in found:
                found.add(name)
                ahead.append(name)
    return found
