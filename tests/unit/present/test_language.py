# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Sentences in another language: the catalogue is whole, is asked only where a person reads, and shows on a screen."""

from __future__ import annotations

import io
import json
import re
import string
from typing import Any

import pytest
from rich.console import Console

import build_locale
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.diagnosis import diagnosis
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.present import diagnosis as diagnosed
from halfopen.present import language, statusjson
from halfopen.present.findings.sentences import SENTENCES, say
from halfopen.present.language import cell_width, of_environment, spoken, tr, tr_n, wrapped
from halfopen.present.status import status
from rows import UNSEEN, listener, sample
from verdicts import still_coming

[PO] = build_locale.catalogues()
HAN = re.compile("[\u4e00-\u9fff]")
# What stays in a Chinese sentence: names of the kernel and of protocols, and commands.
KEPT = re.compile(
    "backlog|cookie|socket|accept|listen|connect|netfilter|softirq|keepalive|cgroup|eBPF|release|release-time|measure|Fast|Open|LimitNOFILE|halfopen"
    "|status|protect|all|somaxconn|defer|fs.file-max|Ctrl-C|netns|SYN-ACK|Linux|ListenDrops|Enter|Esc|PgUp|PgDn|top|tune"
    "|sudo|pid|direct|KiB|Cgroup|inode|dentry|limit|IPv|rising|incident|recovering|quiet"
    # Of errors: keys and commands of ours, parts of the system, and files.
    "|root|id|user|link|dump|list|notify|true|false|url|undo|web|credential|command|first-syn|prom|cookies|auto|block"
    "|java|watch|html|md|unblock|window|kind|listeners?|table|retransmits|hosts|probe|destroy|closing|drop-caches|memory"
    "|gen-cookie|tc|xdp|census|owners|pulse|walk|profile|zone|base|recover|docs/(notify|verdicts).md|never.(sources|listeners)"
    "|Apprise|libbpf|seccomp|nft|membarrier|bpftune|tuned|notrack|Yama|conntrack|journal|syslog|rtnetlink|fentry|lockdown"
    "|AppArmor|SELinux|systemd|SQLite|Unix|Go|docker|exec|textfile|collector|https?|ssh|db|multathtcp|LoadCredential"
    "|veth|netlink|errno|cpu|packet|sources|way|span|history|path"
    "|ms|MiB|GiB|proc(/sys|/net/?|/net/tcp)?|pids.max|memory.max|opt|etc|dev/null"
)
# What is not looked at in a text: values, quoted words, options, and commands to paste.
APART = re.compile(
    r"""\{[^}]*\}|`[^`]*`|"[^"]*"|--[\w-]+|(?:halfopen|ip|systemctl|sysctl|chmod|chown|kill|find|sqlite3|apt-get|pipx"""
    r"""|journalctl|modprobe|echo|fuser|mount|ulimit|dmesg|lsattr)(?: [-\w./=\[\]:+|$(<>]+)*"""
)
# Sentences in other sentences that are names.
NAMES = ("closing undo", "memory drop-caches", "sock_diag dump", "the sock_diag dump")
COMMANDS = ("halfopen", "systemctl", "sysctl", "ip ", "ethtool", "nft ", "prlimit", "kill", "cat", "grep", "tcpdump")
COMMANDS = (*COMMANDS, "nsenter", "src net", "dst port")


def english(text: str) -> list[str]:
    """The English words of a text, names and values left out."""
    found = re.findall(r"[A-Za-z][A-Za-z_/.-]+", APART.sub("", text))
    return [word for word in found if "_" not in word and not word.isupper() and not KEPT.fullmatch(word.strip("-."))]


def test_the_catalogue_fits_the_code_and_is_compiled() -> None:
    assert build_locale.problems(PO) == [], "run: make locale, and translate what is empty"


def test_every_sentence_and_title_is_in_it() -> None:
    wanted = build_locale.messages()
    assert set(SENTENCES) == set(RULES)
    # Nothing of a sentence is written past the catalogue: no file of sentences has prose outside tr().
    assert {rule.title for rule in RULES.values() if not rule.note} <= set(wanted)
    for path in sorted((build_locale.SOURCE / "present/findings").glob("*.py")):
        loose = [text for text in _loose(path.read_text(encoding="utf-8")) if text not in wanted]
        assert loose == [], path.name


def _loose(source: str) -> list[str]:
    """Texts of several words that are neither documentation nor arguments of tr, tr_n or an error."""
    import ast

    tree = ast.parse(source)
    called = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Raise)
        for part in ast.walk(node)
        if isinstance(node, ast.Raise) or getattr(node.func, "id", "") in ("tr", "tr_n")  # type: ignore[union-attr]
    }
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    words = re.compile(r"[a-z]{2,} [a-z]{2,}")
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and words.search(node.value)
        and id(node) not in called | documented
        and not re.match(
            r"(halfopen|systemctl|sysctl|ip |ethtool|nft |prlimit|kill|cat|grep|tcpdump|nsenter)", node.value.strip()
        )
        and not re.match(r" ?(src net|dst port)", node.value)
    ]


def test_translations_are_chinese() -> None:
    """No English word is left but names, and no western comma or bracket beside a Chinese character."""
    translated = build_locale.read_po(PO.read_text(encoding="utf-8"))
    for text, given in translated.items():
        if not text:
            continue
        for one in given:
            assert english(one) == [], one
            assert not re.search("[\u4e00-\u9fff][,;(]|[,;)][\u4e00-\u9fff]", one), one
            assert HAN.search(one) or len(english(text)) < 2 or text in NAMES, text


def flood() -> tuple[Model, Model]:
    rows = [listener(limit=100_000)]
    counters = {"PassiveOpens": 100, "ListenDrops": 0}
    now = sample(still_coming(300), rows, counters={**counters, "PassiveOpens": 102}, monotonic_s=100.5)
    before = sample(still_coming(300), rows, counters=counters)
    return build(now, before), build(before)


def screen(width: int = 80) -> Console:
    options: dict[str, Any] = {"width": width, "height": 24, "force_terminal": False}
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, **options)


@pytest.fixture(autouse=True)
def english_again() -> Any:
    yield
    language.prefer(language.ENGLISH)


def test_a_screen_is_chinese_and_json_is_not() -> None:
    now, before = flood()
    verdict = judge(now, before)
    english = json.dumps(statusjson.status([now], [verdict], [], [UNSEEN]))
    language.prefer("zh")
    out = screen()
    status(out, now, verdict)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.startswith("警告")
    assert ":8080 遭伪造源地址的 SYN 洪泛：始终没有应答" in text
    assert "下一步  halfopen" in text
    assert max(cell_width(line.rstrip()) for line in text.splitlines()) <= 80
    # A document says the same in every language.
    assert json.dumps(statusjson.status([now], [verdict], [], [UNSEEN])) == english
    out = screen()
    found = diagnosis(Evidence(now, before, 0.5))
    diagnosed.show(out, [found], [])
    assert "两次采样相隔" in out.file.getvalue()  # type: ignore[attr-defined]
    assert not HAN.search(json.dumps(diagnosed.document([found], []), ensure_ascii=False))


def test_sentences_of_every_finding_that_a_flood_has() -> None:
    now, before = flood()
    for finding in judge(now, before).findings:
        with spoken("zh"):
            said = say(finding)
        assert HAN.search(said)
        assert not HAN.search(say(finding))


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh_TW:en"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en"}, "en"),
        ({"LANG": "C", "LANGUAGE": "zh"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_of_an_environment(environment: dict[str, str], language: str) -> None:
    assert of_environment(environment) == language


def test_numbers_have_the_form_of_their_language() -> None:
    assert [tr_n("{n:,} source", "{n:,} sources", n) for n in (1, 2304)] == ["1 source", "2,304 sources"]
    with spoken("zh"):
        assert [tr_n("{n:,} source", "{n:,} sources", n) for n in (1, 2304)] == [
            "1 个不同的源".replace("不同的", ""),
            "2,304 个源",
        ]
        assert tr("{rate}/s", rate="1,240") == "1,240/秒"


def test_lines_are_broken_by_their_width_on_a_terminal() -> None:
    assert cell_width("半连接 :8080") == 12
    text = "21:00:00  告警  :8080  始终没有应答 1,203/秒，客户端仍能连入（12/秒）；561 个半连接已超过 3 秒"
    lines = wrapped(text, 40, " " * 10)
    assert len(lines) > 2
    assert max(map(cell_width, lines)) <= 40
    assert not any(line.strip()[0] in "，；）" for line in lines)
    assert "".join(line.strip().replace(" ", "") for line in lines) == text.replace(" ", "")
    assert wrapped("short", 40, "  ") == ["short"]


def test_the_catalogue_names_no_value_that_its_sentence_has_not() -> None:
    wanted = build_locale.messages()
    for text, given in build_locale.read_po(PO.read_text(encoding="utf-8")).items():
        names = {name for _, name, _, _ in string.Formatter().parse(text + (wanted[text].many if text else "")) if name}
        assert all({n for _, n, _, _ in string.Formatter().parse(one) if n} <= names for one in given if text), text


def test_an_opening_bracket_does_not_end_a_line() -> None:
    text = "已被暂停（python）再等“一下”（中文）"
    for width in range(8, 30):
        lines = wrapped(text, width, "")
        assert not any(line.endswith(("（", "“")) for line in lines)
        assert "".join(lines) == text


def test_the_release_time_has_one_name_in_chinese() -> None:
    """放弃: the kernel gives up; 释放 is what `halfopen release` does."""
    assert "释放时间" not in PO.read_text("utf-8")


def test_a_line_is_not_broken_between_a_number_and_its_unit() -> None:
    """A page of `top` had `99 % within 6.82` at the end of a line and `s;` at the beginning of the next."""
    texts = (
        "33 handshakes in 3 s, half of those timed within 1.05 s, 99 % within 6.82 s; 14 needed (2 min 5 s)",
        "始终没有应答 600/秒，这些源完成握手 0 次，最久 14.5 秒。释放后，队列会在 6.8 秒内被填满",
    )
    for text in texts:
        for width in range(24, 90):
            lines = wrapped(text, width, "  ")
            assert max(map(cell_width, lines)) <= width
            assert not any(re.match(r" *(s|%|min|次|秒)\b", line) for line in lines[1:]), (width, lines)
