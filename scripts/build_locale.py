#!/usr/bin/env python3
"""The catalogues of translated sentences (src/halfopen/locale), made from the calls of `tr` and `tr_n` in the code.

build_locale.py          enter new sentences into each halfopen.po, drop those that are gone, and compile halfopen.mo
build_locale.py check    say what is missing, left over, not filled in or not compiled, and fail
"""

from __future__ import annotations

import ast
import re
import string
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import locale_sources

if TYPE_CHECKING:
    from halfopen.core.fields.field import Field

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src/halfopen"
LOCALES: Final = SOURCE / "locale"
TEMPLATES: Final = LOCALES / "templates.txt"
REPAIR: Final = "run: make locale"
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
_WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence: the text in the code, and its plural where it has one; where: the file that says it first."""

    one: str
    many: str = ""
    where: str = ""


Translated = tuple[str, ...]


def messages() -> dict[str, Message]:
    """Every sentence of the code by its text, in the order of the files, and the words of the registries."""
    found: dict[str, Message] = {}
    for path in sorted(path for room in ("cli", "present") for path in (SOURCE / room).rglob("*.py")):
        where = path.relative_to(SOURCE).as_posix()
        for one, many in _called(path):
            known = found.setdefault(one, Message(one, many, where))
            if many and not known.many:
                found[one] = Message(one, many, known.where)
    for where, texts in _registries():
        for text in texts:
            found.setdefault(text, Message(text, "", where))
    for where, text in locale_sources.sentences():
        found.setdefault(text, Message(text, "", where))
    return found


def templates() -> str:
    """The sentences that `present.told` recognises, a line each."""
    return "".join(f"{text}\n" for text in dict.fromkeys(text for _, text in locale_sources.sentences()))


def _called(path: Path) -> Iterator[tuple[str, str]]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.func, ast.Name) and node.func.id in ("tr", "tr_n"):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if node.func.id == "tr" and texts:
                yield texts[0], ""
            elif len(texts) == 2:
                yield texts[0], texts[1]


def _registries() -> Iterator[tuple[str, list[str]]]:
    """Words that are data: titles of causes, why a finding is in doubt, the columns of the page and their meaning."""
    sys.path.insert(0, str(ROOT / "src"))
    from halfopen.core.closing_filter import CONDITIONS
    from halfopen.core.fields import (
        advice,
        closing,
        connection,
        everywhere,
        handshakes,
        history,
        listener,
        live,
        memory,
        source,
    )
    from halfopen.core.findings import rules as rules  # fills the registry
    from halfopen.core.findings.diagnosis import DOUBTS
    from halfopen.core.findings.registry import RULES
    from halfopen.core.policy.connection_notes import RECORD
    from halfopen.present.screen.state import SORTS
    from halfopen.present.web.state import registry_texts

    yield "core/findings/rules", [rule.title for rule in RULES.values() if not rule.note]
    yield "core/findings/diagnosis.py", list(DOUBTS)
    yield "core/fields", registry_texts()
    tables = (live.LIVE_LISTENER, live.LIVE_SOURCE, live.LIVE_INCIDENT, live.MOMENT, everywhere.EVERYWHERE)
    shown = [text for table in tables for field in table for text in (field.title, *field.words)]
    yield "core/fields/live.py", list(filter(None, shown))
    of_commands: tuple[tuple[Field[Any], ...], ...] = (
        *(listener.LISTENER, source.SOURCE, history.INCIDENT, handshakes.LISTENER, advice.CHOICE, connection.LIST),
        *(memory.USE, memory.MEMORY_OF_PROCESS, memory.MEMORY_OF_LISTENER, closing.GROUP, closing.SOCKETS),
    )
    yield "core/fields", [text for table in of_commands for f in table for text in (f.title, *f.words) if text]
    yield "present/screen/state.py", list(SORTS)
    yield "core/closing_filter.py", [*CONDITIONS, RECORD]


# --- halfopen.po ------------------------------------------------------------------------------------------------------


def read_po(text: str) -> dict[str, Translated]:
    """The translations of a catalogue by their sentence, the header by "". Raises: ValueError."""
    found: dict[str, Translated] = {}
    entry: dict[str, str] = {}
    key = ""
    for line in (*text.splitlines(), ""):
        bare = line.strip()
        if not bare:
            if "msgid" in entry:
                found[entry["msgid"]] = tuple(v for k, v in sorted(entry.items()) if k.startswith("msgstr"))
            entry = {}
        elif not bare.startswith("#"):
            match = re.match(r"(msgid|msgid_plural|msgstr|msgstr\[\d\])\s+", bare)
            if match:
                key, bare = match[1], bare[match.end() :]
                entry[key] = ""
            if not _STRING.fullmatch(bare) or not key:
                raise ValueError(f"not a line of a catalogue: {line}")
            entry[key] += _unquoted(bare)
    return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text[1:-1])


def write_po(header: str, translated: dict[str, Translated], wanted: dict[str, Message]) -> str:
    """The catalogue of these sentences; one that has no translation yet has an empty one."""
    blocks = ['msgid ""\nmsgstr ""\n' + "\n".join(f'"{_escaped(line)}\\n"' for line in header.splitlines())]
    where = ""
    for message in wanted.values():
        lines = [f"#: {message.where}"] if message.where != where else []
        where = message.where
        given = translated.get(message.one, ("",))
        lines += _quoted("msgid", message.one)
        if message.many:
            lines += _quoted("msgid_plural", message.many)
            lines += [line for i, text in enumerate(given) for line in _quoted(f"msgstr[{i}]", text)]
        else:
            lines += _quoted("msgstr", given[0])
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


def _quoted(key: str, text: str) -> list[str]:
    if len(text) + len(key) < _WIDTH:
        return [f'{key} "{_escaped(text)}"']
    words, lines = re.findall(r"\S+\s*|\s+", text), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _WIDTH:
            lines.append("")
        lines[-1] += word
    return [f'{key} ""', *(f'"{_escaped(line)}"' for line in lines)]


# --- halfopen.mo ------------------------------------------------------------------------------------------------------


def compile_mo(header: str, translated: dict[str, Translated], wanted: dict[str, Message]) -> bytes:
    """The catalogue as gettext reads it (GNU gettext manual, "The Format of GNU MO Files")."""
    pairs = {b"": header.encode()}
    for text, given in translated.items():
        if text in wanted and all(given):
            many = wanted[text].many
            pairs[(f"{text}\0{many}" if many else text).encode()] = "\0".join(given).encode()
    ordered = sorted(pairs.items())
    at = 28 + 16 * len(ordered)
    tables: list[list[int]] = [[], []]
    data = b""
    for side in (0, 1):
        for pair in ordered:
            tables[side] += [len(pair[side]), at + len(data)]
            data += pair[side] + b"\0"
    numbers = (0x950412DE, 0, len(ordered), 28, 28 + 8 * len(ordered), 0, 0, *tables[0], *tables[1])
    return struct.pack(f"<{len(numbers)}I", *numbers) + data


# --- the command ------------------------------------------------------------------------------------------------------


def catalogues() -> list[Path]:
    """The catalogues, one for each language."""
    return sorted(LOCALES.glob("*/LC_MESSAGES/halfopen.po"))


def problems(path: Path) -> list[str]:
    """What is wrong with a catalogue; none where it is whole."""
    wanted, translated = messages(), read_po(path.read_text(encoding="utf-8"))
    header = translated.pop("", ("",))[0]
    found = [f"no entry: {text}" for text in wanted if text not in translated]
    found += [f"of nothing in the code: {text}" for text in translated if text not in wanted]
    for text, given in translated.items():
        if text not in wanted:
            continue
        if not all(given):
            found.append(f"not translated: {text}")
        message = wanted[text]
        names = {*_names(message.one), *_names(message.many)}
        found += [f"other values than the sentence: {text}" for one in given if not {*_names(one)} <= names]
    found += [f"a value without a name: {text}" for text in wanted if "" in _holes(text)]
    compiled = path.with_suffix(".mo")
    made = compile_mo(header, translated, wanted)
    if not compiled.exists() or compiled.read_bytes() != made:
        found.append(f"{compiled.name} is not made from {path.name}")
    return found


def _holes(text: str) -> list[str | None]:
    return [name for _, name, _, _ in string.Formatter().parse(text)]


def _names(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def main(arguments: list[str]) -> int:
    """Carry out the command; 0 when all is well."""
    failed = False
    if arguments != ["check"]:
        TEMPLATES.write_text(templates(), encoding="utf-8")
    elif not TEMPLATES.exists() or TEMPLATES.read_text(encoding="utf-8") != templates():
        print(f"{TEMPLATES.relative_to(ROOT)}: not made from the code ({REPAIR})")
        failed = True
    for path in catalogues():
        if arguments == ["check"]:
            for line in problems(path):
                print(f"{path.relative_to(ROOT)}: {line} ({REPAIR})")
                failed = True
            continue
        translated, wanted = read_po(path.read_text(encoding="utf-8")), messages()
        header = translated.pop("", ("",))[0]
        path.write_text(write_po(header, translated, wanted), encoding="utf-8")
        path.with_suffix(".mo").write_bytes(compile_mo(header, translated, wanted))
        empty = sum(not all(translated.get(text, ("",))) for text in wanted)
        print(f"{path.relative_to(ROOT)}: {len(wanted)} sentences" + (f", {empty} not translated" if empty else ""))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
