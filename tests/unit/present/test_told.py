"""What the rooms below say in English, in the language of the reader."""
# ruff: noqa: RUF001 (Chinese punctuation is meant)

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter

import pytest

import build_locale
import locale_sources
from halfopen.cli import saying
from halfopen.core.errors import ConfigError, KernelError, UnknownTarget
from halfopen.core.policy.spacing import Spacing
from halfopen.present import language
from halfopen.present.language import spoken
from halfopen.present.told import TEMPLATES, told, told_error

HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    language.prefer(language.ENGLISH)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "connections and queues were looked at once, which took 1.2 s: only the rates of the kernel's counters are "
            "from two looks",
            "连接和队列只采样了一次（耗时 1.2 秒）：只有内核计数器的速率由两次采样得出",
        ),
        # A value is a sentence too, and one of several is one more.
        (
            "connections are read by sock_diag, which does not show orphans and keepalive exactly: loading the eBPF "
            "program closing is refused",
            "连接由 sock_diag 读取，它不能准确给出无主连接和 keepalive：加载 eBPF 程序 closing 被拒绝",
        ),
        (
            "there is no history at /tmp/x; halfopen watch --history DIR keeps one; --file names another",
            "/tmp/x 没有历史文件；halfopen watch --history DIR 会保存历史；用 --file 指定其他文件",
        ),
        ("watch: readings are 2 s apart again", "监控：读数间隔已恢复为 2 秒"),
        ("/etc/x.toml:3: watch.foo: unknown key", "/etc/x.toml:3: watch.foo: 未知的键"),
        ("No such option '--foo'. (see halfopen status --help)", "没有选项 '--foo'。（见 halfopen status --help）"),
        (
            "no listener has :9999; halfopen status shows the listeners",
            "没有监听在 :9999；halfopen status 列出各个监听",
        ),
        # A sentence of nobody's, and a name that is also a word of the catalogue.
        ("a sentence that no template fits", "a sentence that no template fits"),
        (
            "network namespace watch: /run/netns/watch: No such file or directory",
            "网络命名空间 watch：/run/netns/watch：没有这个文件或目录",
        ),
    ],
)
def test_a_sentence_and_its_values(english: str, chinese: str) -> None:
    assert told(english) == english
    with spoken("zh"):
        assert told(english) == chinese


def test_no_byte_that_a_terminal_obeys_comes_through() -> None:
    for speech in ("en", "zh"):
        with spoken(speech):
            assert "\x1b" not in told("there is no /tmp/\x1b[31m here")


def test_errors_are_told_with_their_hints() -> None:
    gone = UnknownTarget("network namespace x: /run/netns/x: No such file or directory", hint="did you mean y?")
    assert told_error(gone) == gone.line()
    with spoken("zh"):
        assert told_error(gone) == "网络命名空间 x：/run/netns/x：没有这个文件或目录；是不是想用 y？"
        assert told_error(KernelError("setns", 22, "fd 3")) == "setns 失败：EINVAL（fd 3）"
        assert told_error(ConfigError("a.toml", "release", "needs older_than or retransmits", line=2)).startswith(
            "a.toml:2:"
        )
        assert told_error(FileNotFoundError(2, "No such file or directory", "/x")) == "/x: 没有这个文件或目录"


def test_a_watch_that_is_spaced_out_is_told_in_chinese() -> None:
    spacing = Spacing(1.0, share=0.001)
    for _ in range(50):
        spacing.took(0.005)
    news = spacing.news()
    assert news is not None
    text = f"watch: {news.line()}"
    with spoken("zh"):
        assert told(text) == (
            "监控：每次读取占用 5 毫秒处理器时间，为不超过处理器的 0.1%，现每 5.0 秒读取一次；"
            "请调高 max_cpu，或减少所监控的命名空间"
        )


def test_standard_error_speaks_the_language(capsys: pytest.CaptureFixture[str]) -> None:
    language.prefer("zh")
    saying.say("release needs a filter; leave one of them out")
    assert capsys.readouterr().err == "halfopen: release 需要过滤条件；请去掉其中一个\n"


def test_every_template_finds_itself() -> None:
    """Filled with values, each is recognised, and says something in Chinese."""
    with open(TEMPLATES, encoding="utf-8") as file:
        templates = file.read().splitlines()
    assert templates == build_locale.templates().splitlines(), "run: make locale"
    unsaid = []
    with spoken("zh"):
        for template in templates:
            names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
            text = template.format(**dict.fromkeys(names, "7") | {"duration": "7 s"})
            if not HAN.search(told(text)):
                unsaid.append(template)
    # Names of commands, as another sentence has them.
    assert unsaid == ["closing undo", "memory drop-caches", "the sock_diag dump"]


def test_the_templates_are_found_in_the_code() -> None:
    found = {text for _, text in locale_sources.sentences()}
    assert "release needs a filter" in found
    assert "the kernel refuses {key} = {value}: {code}" in found
    assert {"{n} reading", "{n} readings"} <= found
    # No help, no SQL, no command to paste.
    assert not any(text.startswith(("SELECT", "apt-get", "Show ")) for text in found)
