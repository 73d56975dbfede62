"""The screen of `closing` where there is more than it has room for."""

from __future__ import annotations

import io

from rich.console import Console

from connections import aged, evidence, sockets
from halfopen.ops.closing.look import judge_connections
from halfopen.present import closing, language


def test_what_is_accused_comes_before_what_is_harmless() -> None:
    pools = [row for i in range(15) for row in aged([40.0, 40.1, 40.2], remote_port=6000 + i)]
    leak = aged([i / 5 for i in range(60)], unread=0)
    seen = judge_connections(evidence(sockets(*pools, *leak)))
    out = Console(file=io.StringIO(), width=120, highlight=False)
    closing.show(out, seen.sample, seen.model, seen.verdict)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    rows = text[text.index("PROCESS") :].splitlines()
    assert "end-read" in rows[1], text
    assert "end-unread" in rows[2], text
    # Five pools are told, and that there are more.
    assert text.count("an idle pool") == 5
    assert "and 10 more reasons like these, which --json has" in " ".join(text.split())


def test_nothing_of_a_reason_is_cut_off_in_chinese() -> None:
    part = sockets(*aged([i / 5 for i in range(60)], unread=211))
    seen = judge_connections(evidence(part))
    texts = []
    language.prefer("zh")
    try:
        for width in range(40, 120):
            out = Console(file=io.StringIO(), width=width, highlight=False)
            closing.show(out, seen.sample, seen.model, seen.verdict)
            assert isinstance(out.file, io.StringIO)
            text = out.file.getvalue()
            reasons = text[: text.index("\n进程 ")]
            assert max(map(language.cell_width, reasons.splitlines())) <= width
            texts.append("".join(reasons.split()))
    finally:
        language.prefer(language.ENGLISH)
    assert set(texts) == {texts[-1]}
    assert "…" not in texts[-1]
