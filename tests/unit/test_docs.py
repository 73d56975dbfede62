"""The documents and the code say the same: every command, option and link; both READMEs alike."""

from __future__ import annotations

import re
import shlex
import tomllib

import click
import pytest

from documented import READMES, ROOT, text
from halfopen.cli.main import COMMANDS, cli
from halfopen.core.config import parse
from halfopen.ops.watch import sinks

DOCUMENTS = (
    *(*READMES, "ARCHITECTURE.md", "CHANGELOG.md"),
    *(
        "docs/commands.md",
        "docs/verdicts.md",
        "docs/safety.md",
        "docs/json.md",
        "docs/how-it-reads.md",
        "docs/settings.md",
        "docs/metrics.md",
        "docs/configuration.md",
        "docs/decisions.md",
    ),
)


# --- commands and options ---------------------------------------------------------------------------------------------


def code_of(name: str) -> list[str]:
    """Everything a document sets as code: the lines of blocks, and inline spans."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```[a-z]*\n.*?^```", "", text(name), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def commands_in(line: str) -> list[list[str]]:
    """The `halfopen …` commands in a line of code, each as words; what a lab runs is a command of its own."""
    line = line.replace("…", " ").partition("#")[0]
    found = []
    for piece in re.split(r"(?:^|[\s'`(/])halfopen (?=[a-z-])", line)[1:]:
        # Up to what ends a command in a shell or in a JSON string, and before the command that a lab runs.
        piece = re.split(r"""['"|;&)`<>]| --(?: |$)|\s{2,}""", piece)[0]
        words = shlex.split(piece)
        if words and words[0] in COMMANDS:
            found.append(words)
    return found


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def options_of(name: str) -> set[str]:
    """The options of a command, and of the commands below it where it is a group."""

    def of(command: click.Command) -> set[str]:
        context = click.Context(command, **command.context_settings)
        found = {option for parameter in command.get_params(context) for option in parameter.opts}
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                one = command.get_command(context, below)
                assert one is not None
                found |= of(one)
        return found

    return of(command_of(name)) | {"--help", "-h"}


ALL_OPTIONS = {"--version"}.union(*(options_of(name) for name in COMMANDS))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_exists(name: str) -> None:
    wrong = []
    for line in code_of(name):
        for words in commands_in(line):
            wrong += [f"{line}: {w}" for w in words[1:] if w.startswith("--") and w not in options_of(words[0])]
        first = line.split(" ")[0]
        if first.startswith("--") and first not in ALL_OPTIONS:
            wrong.append(line)
        called = re.match(r"(?:\$ )?(?:sudo )?halfopen ([a-z-]+)", line)
        if called and called[1] not in COMMANDS:
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("name", READMES)
def test_the_first_commands_work_as_they_stand(name: str) -> None:
    block = re.search(r"^```sh\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)
    assert block
    first, second = (shlex.split(line, comments=True) for line in block[1].splitlines())
    # In a shell `<this>` reads a file, and `halfopen` is not found where no more than `make` was run.
    assert first == ["make", "demo"]
    assert re.search(r"^demo: ready-run", text("Makefile"), re.MULTILINE)
    assert second == [".venv/bin/halfopen", "status"]
    assert "PYTHON := .venv/bin/python\n" in text("Makefile")
    wheel = tomllib.loads(text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "halfopen" in wheel["shared-scripts"].values()


@pytest.mark.parametrize("name", READMES)
def test_the_readme_names_every_command(name: str) -> None:
    named = {words[0] for line in code_of(name) for words in commands_in(line)}
    assert named == set(COMMANDS)


def test_both_readmes_have_the_same_commands() -> None:
    english, chinese = ({" ".join(w) for line in code_of(n) for w in commands_in(line)} for n in READMES)
    assert len(english) > 10
    assert english == chinese


def test_both_readmes_show_the_same_output() -> None:
    def shown(name: str) -> list[str]:
        blocks = re.findall(r"^```([a-z]*)\n(.*?)^```", text(name), re.MULTILINE | re.DOTALL)
        return [block for kind, block in blocks if kind in ("", "json")]

    english = shown("README.md")
    assert english
    assert english == shown("README.zh-CN.md")


def test_the_sample_configuration_is_accepted() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", text("docs/commands.md"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert parse(blocks[0], "docs/commands.md", sinks.keys()).by_age.older_than_s == 15


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def anchors(markdown: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
