"""Help, examples, manual pages and completion, for every command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import build_man
from halfopen.cli import completion, tune
from halfopen.cli.examples import EXAMPLES
from halfopen.cli.main import cli
from run import environment, told

PAGES = {words: (one, context) for words, one, context in build_man.commands()}
BELOW = [words for words in PAGES if words]


def test_every_command_has_examples_and_every_example_a_command() -> None:
    assert set(EXAMPLES) == set(BELOW)
    assert all(len(line) <= 76 for lines in EXAMPLES.values() for line in lines)


@pytest.mark.parametrize("words", BELOW)
def test_the_help_shows_the_examples_as_they_stand(words: str) -> None:
    one, context = PAGES[words]
    text = one.get_help(context)
    assert all(line in text for line in EXAMPLES[words])


def examples() -> list[str]:
    return [line.partition("  #")[0].partition(" | ")[0] for lines in EXAMPLES.values() for line in lines]


@pytest.mark.parametrize("line", [line for line in examples() if line.startswith("halfopen ")])
def test_every_example_is_understood(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0].partition(" # ")[0])[1:]
    above, name = build_man.cli, ""
    # A group that works without a command takes options itself.
    while isinstance(above, click.Group) and (not name or (words and not words[0].startswith("-"))):
        name = words.pop(0)
        found = above.get_command(click.Context(above), name)
        assert found is not None, line
        above = found
    # As below `halfopen`: click keeps the help option that it made first.
    above.make_context(name, words, help_option_names=["-h", "--help"])


@pytest.mark.parametrize("words", [(), *[tuple(w.split()) for w in BELOW]])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_short_and_long_help(words: tuple[str, ...], option: str) -> None:
    done = told(*words, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["Usage: halfopen", *words]))


def test_short_and_long_version() -> None:
    assert told("-V").stdout == told("--version").stdout != ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("staus",), "Did you mean 'status'?"),
        (("tune", "aply"), "Did you mean 'apply'?"),
        (("relase-time",), "Did you mean 'release-time'?"),
        (("list", "--lisener", ":80"), "Did you mean --listener?"),
        (("list", "--sort", "sorce"), "Did you mean 'source'?"),
        (("list", "--format", "jsn"), "Did you mean 'json'?"),
        (("status", "--read-by", "bfp"), "Did you mean 'bpf'?"),
        (("tune", "undo", "1", "--yes"), "--yes (see halfopen tune undo --help)"),
    ],
)
def test_a_word_that_is_nearly_right(words: tuple[str, ...], says: str) -> None:
    done = told(*words)
    assert (done.returncode, done.stdout) == (2, "")
    # click 8.4 put quotes around an option, and a full stop behind it.
    bare = done.stderr.replace("'--", "--").replace("'?", "?").replace("'. (", " (")
    assert says in done.stderr or says in bare


def test_the_manual_pages_are_what_help_says() -> None:
    assert build_man.stale() == [], build_man.REPAIR


@pytest.mark.slow  # builds a package
def test_the_wheel_brings_the_manual_pages(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=build_man.ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    there = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert there == set(build_man.pages())


# --- completion -------------------------------------------------------------------------------------------------------


def offered(*words: str) -> list[str]:
    done = told(*words, env={completion.COMPLETE: "1"})
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t")[1] for line in done.stdout.splitlines()]


def test_what_is_offered() -> None:
    assert offered("st") == ["status"]
    assert set(offered("")) == set(build_man.COMMANDS)
    assert offered("list", "--sort", "") == ["age", "expires", "retransmits", "source", "listener"]
    assert offered("tune", "apply", "--release-") == ["--release-time"]
    assert offered("watch", "--dur") == []  # the old word is not offered
    assert f"pid:{os.getpid()}" in offered("status", "--netns", f"pid:{os.getpid()}")
    assert "all" in offered("status", "--netns", "")
    assert "all" not in offered("tune", "show", "--netns", "")
    assert offered("watch", "--config", "/etc/") == ["/etc/"]
    offered("no-such", "--x", "")


def test_completion_loads_neither_numpy_nor_rich() -> None:
    code = "import sys; from halfopen.cli import completion; from halfopen.cli.main import cli\n"
    code += "completion.answer(cli, ['status', '--netns', '']); completion.answer(cli, ['list', '--listener', ''])\n"
    code += "print('heavy:', sorted({'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "halfopen").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m halfopen "$@"\n')
    (tmp_path / "halfopen").chmod(0o755)
    script = """
        eval "$(halfopen completion bash)"
        for line in "halfopen st" "halfopen list --sort=a" "halfopen list --sort age --lim" \
                    "halfopen status --netns pid:$$"; do
            COMP_LINE=$line COMP_POINT=${#line}
            _halfopen_completion halfopen
            echo "${COMPREPLY[*]}"
        done
    """
    env = environment(PATH=f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    first, second, third, last = done.stdout.splitlines()
    # To bash, `pid:` is a word of its own.
    assert ([first, second, third], last.isdigit()) == (["status", "age", "--limit"], True)


def test_there_is_a_script_for_each_shell() -> None:
    for shell, text in completion.SCRIPTS.items():
        assert told("completion", shell).stdout == text
        assert completion.COMPLETE in text


@pytest.mark.parametrize("name", ["tune", "closing", "memory", "history", "notify", "service"])
def test_the_summaries_of_commands_are_whole(name: str) -> None:
    said = " ".join(CliRunner().invoke(cli, [name, "--help"]).output.split())
    _, _, summaries = said.partition("Commands:")
    assert summaries
    assert "..." not in summaries.partition("Examples:")[0]


def test_what_is_no_id_is_told_so() -> None:
    for word in ("x", "0", "-1", "9" * 30):
        done = CliRunner().invoke(tune.command, ["undo", "--", word])
        assert done.exit_code == 2, word
        assert f"{word!r} is not an ID; halfopen tune log lists the changes" in done.output
