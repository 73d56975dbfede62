"""Run the unit tests with the oldest versions that pyproject.toml allows of what halfopen needs to run.

Makes a virtual environment for that in a temporary directory. Run: python scripts/floors.py [PYTEST ARGUMENTS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def oldest() -> list[str]:
    """The requirements of the package, as `name==version`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [one.replace(">=", "==") for one in project["dependencies"]]


def main() -> int:
    """The exit code of the tests."""
    with tempfile.TemporaryDirectory(prefix="halfopen-floors-") as made:
        venv.create(made, with_pip=True)
        python = f"{made}/bin/python"
        print(f"halfopen: installing {', '.join(oldest())}", flush=True)
        quiet = ("-q", "--disable-pip-version-check")
        subprocess.run([python, "-m", "pip", "install", *quiet, "-e", f"{ROOT}[dev]", *oldest()], check=True)
        # Programs that the tests start are found first in this environment.
        env = {**os.environ, "PATH": f"{made}/bin:{os.environ.get('PATH', os.defpath)}", "VIRTUAL_ENV": made}
        tests = [python, "-m", "pytest", "-n", "auto", "tests/unit", "tests/golden", *sys.argv[1:]]
        return subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
