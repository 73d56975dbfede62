"""Sentences where no cause is named: about facts that do not decide, clients that answered, and the reading itself."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.traffic import unanswered
from halfopen.present.findings.words import at, held, per_s, sentence
from halfopen.present.language import listed, tr, tr_n


@sentence("cannot-tell")
def _cannot_tell(f: Finding) -> str:
    return tr("cannot tell yet why: {seen}. {decides}", seen=listed(_seen(f)), decides=_would_decide(f))


def _seen(f: Finding) -> list[str]:
    seen = []
    if f.has("syn_queue"):
        seen.append(tr("the SYN queue of {at} holds {held}", at=at(f), held=held(f, "syn_queue")))
    if f.has("accept_queue"):
        seen.append(tr("the accept queue of {at} holds {held}", at=at(f), held=held(f, "accept_queue")))
    if f.has("EmbryonicRsts_per_s"):
        seen.append(
            tr(
                "{resets} handshakes are reset by their clients, and {others} RSTs answer other packets, as in a scan",
                resets=per_s(f, "EmbryonicRsts_per_s"),
                others=per_s(f, "OutRsts_per_s"),
            )
        )
    elif f.has("dropped_syns"):
        seen.append(
            tr_n(
                "{n:,} SYN was dropped, not for a full accept queue",
                "{n:,} SYNs were dropped, not for a full accept queue",
                f.count("dropped_syns"),
            )
        )
    elif f.has("unanswered_per_s"):
        of_them = tr("{n:,} are half-open, {long:,} of them for long", n=f.count("half_open"), long=f.count("lasting"))
        seen += [of_them, unanswered(f)]
        if f.has("reset_per_s"):
            rate = per_s(f, "reset_per_s")
            seen.append(tr("{rate} are reset by their clients before they end", rate=rate))
    else:
        seen.append(tr("{n:,} are half-open", n=f.count("half_open")))
    if f.has("ruled_out_per_s"):
        seen.append(tr("rules of this host drop {rate}", rate=per_s(f, "ruled_out_per_s")))
    return seen


def _would_decide(f: Finding) -> str:
    if f.has("ruled_out_per_s"):
        return tr("Whether the last ACKs of clients are among these decides")
    if f.has("EmbryonicRsts_per_s"):
        return tr("Whose they are decides, which eBPF counts")
    if f.has("dropped_syns"):
        return tr("Whether more are dropped decides")
    if f.has("reset_per_s"):
        return tr("Why clients give up decides: they may be far away, and wait for less than a round trip")
    if f.has("lasting") and not f.count("lasting"):
        return tr("They are young: whether they finish within seconds decides")
    return tr("Whether handshakes from the same sources finish decides")


@sentence("answered")
def _answered(f: Finding) -> str:
    return tr_n(
        "{n:,} client of {at} answered while its accept queue was full, and the kernel ignored the ACK: not "
        "half-open; it gets in once there is room and it sends data",
        "{n:,} clients of {at} answered while its accept queue was full, and the kernel ignored the ACK: not "
        "half-open; each gets in once there is room and it sends data",
        f.count("answered"),
        at=at(f),
    )


@sentence("may-have-answered")
def _may_have_answered(f: Finding) -> str:
    return tr(
        "{n:,} of them may have answered: {doubt}, and the kernel ignores the last ACK of a handshake then; only eBPF "
        "can tell whether they did, and release leaves them alone",
        n=f.count("may_have_answered"),
        doubt=f.text("doubt"),
    )


@sentence("incomplete-reading")
def _incomplete_reading(f: Finding) -> str:
    return tr("this reading is incomplete: {problem}", problem=f.text("problem"))


@sentence("not-shown")
def _not_shown(f: Finding) -> str:
    return f.text("note")
