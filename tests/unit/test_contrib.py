"""Alert rules and the dashboard in contrib/: they say what they are to say, of metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.watched import Watching
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.verdict import judge
from halfopen.core.model.handshake_times import HandshakeTimes
from halfopen.core.model.model import build
from halfopen.core.notice import ReceiverStanding
from halfopen.core.tune.keys import SAMPLED
from halfopen.present.metrics import Metrics
from rows import listener, request, sample

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES_FILE, TESTS_FILE = (CONTRIB / "prometheus" / name for name in ("halfopen.rules.yml", "halfopen.test.yml"))
DASHBOARD = CONTRIB / "grafana" / "halfopen.json"


def promtool(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: scripts/bootstrap dev as root, on Debian or Ubuntu")
    return subprocess.run([found, *words], input=given, capture_output=True, text=True, timeout=60, check=False)


def exposition() -> str:
    """The metrics of a watch, none left out."""
    settings = {key.rpartition(".")[2]: 0 for key in SAMPLED}
    one = replace(sample([request()], [listener()]), counters=dict.fromkeys(COUNTERS, 3), settings=settings)
    told = (ReceiverStanding("chat", "apprise", delivered=1),)
    metrics, model = Metrics(Watching("1.2", "6.1", 5.0, 1.0, 0.5, 7, receivers=told)), build(one)
    metrics.reading(model, judge(model), 0.5)
    metrics.handshakes({one.where.inode: HandshakeTimes()})
    return metrics.text().whole.decode()


def exported() -> set[str]:
    return set(re.findall(r"^(halfopen_\w+)", exposition(), re.MULTILINE))


def used(text: str) -> set[str]:
    return set(re.findall(r"\bhalfopen_\w+", text))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_prometheus_finds_nothing_wrong_with_the_metrics() -> None:
    done = promtool("check", "metrics", given=exposition())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_rules_are_rules_and_do_what_their_tests_say() -> None:
    checked = promtool("check", "rules", str(RULES_FILE))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = promtool("test", "rules", str(TESTS_FILE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_did_not_hold_would_be_noticed(tmp_path: Path) -> None:
    broken = RULES_FILE.read_text().replace("> 0.1", "> 100").replace("halfopen_finding >= 3", "halfopen_finding >= 4")
    (tmp_path / RULES_FILE.name).write_text(broken)
    (tmp_path / TESTS_FILE.name).write_text(TESTS_FILE.read_text())
    done = promtool("test", "rules", str(tmp_path / TESTS_FILE.name))
    assert done.returncode != 0
    assert "HalfopenDropsUnexplained" in done.stdout + done.stderr


@pytest.mark.parametrize("path", [RULES_FILE, TESTS_FILE, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_is_used_is_there(path: Path) -> None:
    found = used(path.read_text())
    assert found
    assert found <= exported()


def test_every_rule_is_tested_and_its_causes_exist() -> None:
    names = re.findall(r"- alert: (\w+)", RULES_FILE.read_text())
    tests = TESTS_FILE.read_text()
    assert set(names) == set(re.findall(r"- alertname: (\w+)", tests))
    ids = set(re.findall(r'(?:id|cause)="([a-z-]+)"', tests))
    assert ids <= {*RULES, "unknown"}


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """By the fields that its JSON model names, and a place for each panel that no other one has."""
    found = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(found)
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        assert {"title", "type", "gridPos", "targets", "datasource", "fieldConfig"} <= set(panel)
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
    known = {one["name"] for one in found["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$(\w+)", "".join(expressions()))) <= known


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = []
    for i, expression in enumerate(expressions()):
        plain = re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "5m"))
        rules.append({"record": f"x{i}", "expr": plain})
    file = tmp_path / "dashboard.json"  # YAML reads JSON
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
