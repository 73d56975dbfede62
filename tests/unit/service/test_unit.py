"""The files of the service: what systemd thinks of the unit, and that the sample configuration is what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.service import installing
from halfopen.service.unit import CONFIG, MADE_BY, service_files


def laid(tmp_path: Path, *, all_namespaces: bool = False) -> Path:
    installing.install(service_files("/usr/bin/halfopen", all_namespaces=all_namespaces, packaged=True), str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("all_namespaces", "most"), [(False, 2.0), (True, 2.4)])
def test_its_exposure(tmp_path: Path, all_namespaces: bool, most: float) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    root = laid(tmp_path, all_namespaces=all_namespaces)
    # Without what it depends on, nothing else is looked for below the root.
    for name in ("sysinit", "basic", "shutdown", "network", "multi-user"):
        (root / f"usr/lib/systemd/system/{name}.target").write_text("[Unit]\nDescription=x\n")
    words = ["systemd-analyze", "security", "--offline=yes", f"--root={root}", "--no-pager", "halfopen.service"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for halfopen.service: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= most, done.stdout


def test_the_sample_is_the_one_that_contrib_shows() -> None:
    [sample] = [one for one in service_files("halfopen") if one.path == CONFIG]
    shown = Path(__file__).parents[3] / "contrib" / "halfopen.toml"
    assert sample.text == shown.read_text(encoding="utf-8")


def test_an_install_below_a_root_and_its_removal(tmp_path: Path) -> None:
    root = laid(tmp_path, all_namespaces=True)
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files == {
        "etc/halfopen/halfopen.toml",
        "etc/logrotate.d/halfopen",
        "usr/lib/systemd/system/halfopen.service",
        "usr/lib/systemd/system/halfopen.service.d/10-all-namespaces.conf",
        "usr/lib/sysusers.d/halfopen.conf",
        "usr/lib/tmpfiles.d/halfopen.conf",
    }
    config = root / "etc/halfopen/halfopen.toml"
    config.write_text('interval = "2s"\n')
    laid(tmp_path)
    assert config.read_text() == 'interval = "2s"\n', "the administrator's"
    assert not (root / "usr/lib/systemd/system/halfopen.service.d").exists(), "one namespace again"
    done = installing.uninstall(str(root)).done
    assert [line.split()[0] for line in done] == ["removed"] * 4 + ["kept"]
    assert {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} == {"etc/halfopen/halfopen.toml"}
    assert installing.uninstall(str(root)).done[0].startswith("kept")


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    unit = tmp_path / "usr/lib/systemd/system/halfopen.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(HalfopenError, match="was not made by halfopen service install"):
        laid(tmp_path)
    assert "ExecStart=/bin/true" in unit.read_text()
    assert any(line.startswith("kept") for line in installing.uninstall(str(tmp_path)).done)
    assert unit.exists()


def test_each_file_says_who_made_it() -> None:
    files = service_files("/opt/halfopen/bin/halfopen", all_namespaces=True)
    assert all(one.text.startswith(MADE_BY) for one in files if one.ours)
    assert all("/opt/halfopen/bin/halfopen watch --config /etc/halfopen/halfopen.toml" in one.text for one in files[:2])


def test_a_home_directory_is_no_place_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/home/somebody/.venv/bin/python")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(HalfopenError, match="where the service cannot read it"):
        installing.program()
