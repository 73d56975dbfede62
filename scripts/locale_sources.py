"""Sentences that are data: what core, read, ops and the other rooms below `present` say in English, as templates.

An f-string is the template, each value in it a name in braces; `present.told` finds the template of a text again and
says it in the language of the reader. So the rooms below need to know nothing of languages.
"""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parents[1] / "src/halfopen"
# Rooms, and of core and cli the files, whose sentences a person may read.
_ROOMS: Final = ("api", "change", "lab", "linux", "notify", "ops", "read", "service", "store", "wire")
_FILES: Final = (
    *("core/check.py", "core/closing_filter.py", "core/config.py", "core/errors.py", "core/features.py"),
    *("core/filters.py", "core/model/answered.py", "core/policy", "core/ranges.py", "core/sections", "core/sparing.py"),
    *("core/notice.py", "core/tune", "core/units.py", "cli"),
)
# Of these only the errors: the rest is for programs, or no text of ours.
_ERRORS_ONLY: Final = (
    *("core/notice.py", "cli/completi", "service/unit.py", "service/web", "ops/watch/sinks.py", "api", "lab", "wire"),
    # `present.chosen_words` has these, and knows where each may stand.
    *("core/filters.py", "core/closing_filter.py", "core/policy/deciding.py", "core/policy/guard_"),
    *("core/policy/release_policy.py", "core/policy/policy.py"),
)
# A template needs as many letters of its own, lest it fit sentences that are others.
_LEAST_LETTERS: Final = 9
_SAFE: Final = re.compile(
    r"(give|reading|writing|rung|loading|until|change|wrote|updated|removed|kept|at most|add|is) |\{op\} failed: "
    r"|\{n\} \w"
)
# The demo is for those who try; the files of others have sentences of their own.
_LEFT_OUT: Final = (
    "cli/demo",
    "cli/lab",
    "cli/examples.py",
    "store/schema.py",
    "store/tiers.py",
    "notify/apprise_child.py",
)
_SILENT: Final = frozenset(
    {
        "argument",
        "command",
        "group",
        "section",
        "Choice",
        "write_dl",
        "replace",
        "search",
        "match",
        "startswith",
        "option",
        "needed",
        "Field",
        "tr",
        "tr_n",
        "compile",
        "add_argument",
        "execute",
    }
)
_OF_HELP: Final = frozenset({"COMMANDS", "doc", "help", "short_help", "epilog"})
_CLASS: Final = re.compile(r"^ *class (\w+)\((\w+)\)", re.MULTILINE)
_SEVERAL: Final = re.compile(
    r"^[a-z]{3,} eBPF|[a-z]{3,} an? [A-Za-z]|[a-z]{2,}[,:]? \(?[a-z]{2,}|[a-z]{2,} +\{\}|\{\} [a-z]{2,}"
)
_ONE: Final = re.compile(
    r"[a-z]{2,} [a-z0-9-]+|^(\{\}|-)[^a-z]* [a-z]{2,}|[a-z]{2,}:? \{\}|\b(give|use|as in|at most) "
)
_HOLE: Final = re.compile(r"\{\w*\}")
# A command to paste is no sentence, unless something is said of it.
_COMMAND: Final = re.compile(
    r"(sudo|halfopen|echo|apt-get|apt|dnf|modprobe|pip|systemctl|sysctl|add element|delete|STATUS=| --|#)\b|\s*[#-]"
)
_OF_COMMAND: Final = re.compile(
    r"\b(lists|shows|keeps|names|makes|prints|needs|is|are|does|do|not|contradict|set|takes|ends|brings|checks|starts|"
    r"has|can|was|read|applies|would|holds|works|says|guards|watches|before|or|let|changes)\b"
)
# Markdown of the docs, and a module of Python's.
_NO_TEXT: Final = re.compile(r"\]\(#|^a .*`|<frozen")
_SQL: Final = re.compile(r"[A-Z]{4,} .*\b(FROM|INTO|TABLE|WHERE|SET)\b|table inet|element inet|, \w+_\w+, ")


# What the system says of a failure, where no sentence of ours does.
_OF_SYSTEM: Final = (
    *(errno.EPERM, errno.ENOENT, errno.EIO, errno.ENOMEM, errno.EACCES, errno.EBUSY, errno.EEXIST, errno.ENODEV),
    *(errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENFILE, errno.EMFILE, errno.EFBIG, errno.ENOSPC, errno.EROFS),
    *(errno.EPIPE, errno.ENAMETOOLONG, errno.ENOSYS, errno.ELOOP, errno.EOPNOTSUPP, errno.EADDRINUSE, errno.EDQUOT),
    *(errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNREFUSED),
    *(errno.EHOSTUNREACH, errno.ERANGE, errno.EAGAIN, errno.ESRCH, errno.ENXIO, errno.E2BIG),
)


# What click says of a command line, where it is not as it should be.
_OF_CLICK: Final = (
    *(
        "{said} (see {command} --help)",
        "No such option {name}.",
        "No such option {name}. Did you mean {near}?",
        "Missing command.",
    ),
    *("Did you mean {near}?", "(Did you mean one of: {near}?)", "No such command {name}. Did you mean {near}?"),
    *("Missing argument {name}.", "Missing option {name}.", "Invalid value for {option}: {message}"),
    *("Invalid value: {message}", "{value} is not in the range {range}.", "{value} is not one of {choices}."),
    *(
        "{value} is not one of {choices}. Did you mean {near}?",
        "{value} is not a valid integer.",
        "No such command {name}.",
    ),
    *("{value} is not an integer.", "{value} is not a number.", "{value} is not a valid float."),
    *("Got unexpected extra argument ({args})", "Got unexpected extra arguments ({args})"),
    *("Option {name} requires an argument.", "Option {name} does not take a value."),
    *("{what} {filename} does not exist.", "{what} {filename} is a directory.", "{what} {filename} is not readable."),
)


# The parts of halfopen that a trouble may be of, with a colon behind them.
_PARTS: Final = ("watch", "notify", "memory", "overdue", "warning")
# What became of a change (`core.tune.outcomes`).
_STATES: Final = ("done", "already", "clamped", "refused", "failed", "undone", "left", "gone")


@lru_cache(maxsize=1)
def sentences() -> tuple[tuple[str, str], ...]:
    """Each file and a template in it, in the order of the files, and the words of the system and of click."""
    return tuple(_all())


def _all() -> Iterator[tuple[str, str]]:
    yield from _of_files()
    yield from (("core/errors.py", os.strerror(code)) for code in _OF_SYSTEM)
    yield from (("cli/main.py", text) for text in _OF_CLICK)
    yield from (("ops/watch/loop.py", text) for text in _PARTS)
    yield from (("core/tune/outcomes.py", text) for text in _STATES)


def _of_files() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        where = path.relative_to(SOURCE).as_posix()
        if where.startswith(_LEFT_OUT) or not (where.split("/")[0] in _ROOMS or where.startswith(_FILES)):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for template in _of_tree(tree, errors_only=where.startswith(_ERRORS_ONLY)):
            yield where, template


@lru_cache(maxsize=1)
def errors() -> frozenset[str]:
    """The names of the classes of errors, wherever they are declared."""
    classes = [pair for path in SOURCE.rglob("*.py") for pair in _CLASS.findall(path.read_text(encoding="utf-8"))]
    found = {"HalfopenError"}
    for _ in range(3):
        found |= {name for name, base in classes if base in found}
    return frozenset(found)


def _of_tree(tree: ast.Module, *, errors_only: bool) -> list[str]:
    found: dict[str, int] = {}
    _visit(tree, found, loud=False, silent=errors_only)
    return sorted(found, key=lambda template: found[template])


def _visit(node: ast.AST, found: dict[str, int], *, loud: bool, silent: bool) -> None:
    """Enter the sentences below a node. loud: an error says them; silent: nothing else says what stands here."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # documentation
    if isinstance(node, ast.Call) and _says(node):
        loud = True
    elif _is_silent(node):
        loud, silent = False, True
    if isinstance(node, ast.expr) and (loud or not silent):
        for template in _counted(node):
            found.setdefault(template, node.lineno)
        template = _template(node)
        if template and _is_prose(template, _ONE if loud else _SEVERAL):
            found.setdefault(template, node.lineno)
    if isinstance(node, ast.JoinedStr):
        # Of an f-string only the values: the rest is in its template.
        below: list[ast.AST] = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
    else:
        below = list(ast.iter_child_nodes(node))
    for part in below:
        _visit(part, found, loud=loud, silent=silent)


def _says(node: ast.Call) -> bool:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    return name in errors() or (name == "__init__" and isinstance(node.func, ast.Attribute)) or name == "privilege"


def _is_silent(node: ast.AST) -> bool:
    """A call whose arguments are no sentences (an error that only a defect raises is one), and the texts of help."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id in _OF_HELP
    if isinstance(node, ast.Compare):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in _OF_HELP
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    return name in _SILENT or (name.endswith("Error") and name not in errors())


def _counted(node: ast.expr) -> Iterator[str]:
    """Both forms of a number of things (`core.units.plural`)."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "plural":
        nouns = [a.value for a in node.args[1:] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if nouns:
            yield f"{{n}} {nouns[0]}"
            yield f"{{n}} {nouns[1] if len(nouns) > 1 else nouns[0] + 's'}"


def _template(node: ast.expr) -> str:
    """The text with its values as names in braces; empty for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and "\n" not in node.value else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    taken: dict[str, int] = {}
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value).replace("{", "{{").replace("}", "}}"))
        elif isinstance(part, ast.FormattedValue):
            name = _name(part.value)
            taken[name] = taken.get(name, 0) + 1
            parts.append(f"{{{name}}}" if taken[name] == 1 else f"{{{name}{taken[name]}}}")
    return "".join(parts)


def _name(value: ast.expr) -> str:
    """A name for a value: the last word of what it is."""
    if isinstance(value, ast.Name):
        return value.id.strip("_").lower()
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_").lower()
    if isinstance(value, ast.Call) and value.args:
        return _name(value.args[-1] if isinstance(value.args[-1], ast.Name | ast.Attribute) else value.args[0])
    if isinstance(value, ast.Call):
        return _name(value.func)
    if isinstance(value, ast.Subscript):
        return _name(value.value)
    return "value"


def _is_prose(template: str, least: re.Pattern[str]) -> bool:
    bare = _HOLE.sub("{}", template)
    if (
        "\n" in bare
        or _SQL.search(bare)
        or _NO_TEXT.search(bare)
        or (_COMMAND.match(bare) and not _OF_COMMAND.search(bare))
    ):
        return False
    own = sum(c.isalpha() for c in bare)
    if "{}" in bare and own < _LEAST_LETTERS and not _SAFE.match(template):
        return False
    return least.search(bare) is not None
