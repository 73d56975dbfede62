"""Sentences where no cause is named: about facts that do not decide, clients that answered, and the reading itself."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.traffic import unanswered
from halfopen.present.findings.words import LEADS, a_second, at, held, lasted, per_s, sentence
from halfopen.present.language import listed, tr, tr_n
from halfopen.present.told import told


@sentence("cannot-tell")
def _cannot_tell(f: Finding) -> str:
    return tr("the cause cannot be told yet: {seen}. {decides}", seen=listed(_seen(f)), decides=_would_decide(f))


def _undecided(f: Finding) -> tuple[str, str]:
    decides = _would_decide(f)
    return tr("the cause cannot be told yet: {seen}", seen=listed(_seen(f))), decides[:1].lower() + decides[1:]


LEADS["cannot-tell"] = _undecided


def _seen(f: Finding) -> list[str]:
    seen = []
    if f.has("syn_queue"):
        seen.append(tr("the SYN queue of {at} holds {held}", at=at(f), held=held(f, "syn_queue")))
    if f.has("accept_queue"):
        seen.append(tr("the accept queue of {at} holds {held}", at=at(f), held=held(f, "accept_queue")))
    if f.has("EmbryonicRsts_per_s"):
        seen.append(
            tr(
                "clients reset {resets} handshakes, and this host sends {others} RSTs in answer to "
                "other packets, as in a scan",
                resets=per_s(f, "EmbryonicRsts_per_s"),
                others=per_s(f, "OutRsts_per_s"),
            )
        )
    elif f.has("dropped_syns_per_s") and f.number("dropped_syns_per_s"):
        seen.append(
            tr("{rate} SYNs/s are dropped although no queue is full", rate=a_second(f, "dropped_syns_per_s")),
        )
    elif f.has("dropped_syns"):
        seen.append(
            tr_n(
                "{n:,} SYN was dropped, and not because of a full accept queue",
                "{n:,} SYNs were dropped, and not because of a full accept queue",
                f.count("dropped_syns"),
            )
        )
    elif f.has("unanswered_per_s"):
        seen += [_how_many(f), unanswered(f) if f.number("unanswered_per_s") else _finished(f)]
        if f.has("reset_per_s"):
            rate = per_s(f, "reset_per_s")
            seen.append(tr("clients reset handshakes before they complete ({rate})", rate=rate))
    else:
        seen.append(tr("{n:,} are half-open", n=f.count("half_open")))
    if f.has("ruled_out_per_s"):
        seen.append(tr("rules of this host drop {rate} packets/s", rate=a_second(f, "ruled_out_per_s")))
    return seen


def _how_many(f: Finding) -> str:
    if not f.count("lasting"):
        return tr("{n:,} are half-open, none of them for long", n=f.count("half_open"))
    return tr("{n:,} are half-open, {long:,} of them for long", n=f.count("half_open"), long=f.count("lasting"))


def _finished(f: Finding) -> str:
    if not f.number("completions_per_s"):
        return tr("no handshake finished meanwhile")
    return tr("{n} handshakes/s finish", n=a_second(f, "completions_per_s"))


def _would_decide(f: Finding) -> str:
    if f.has("ruled_out_per_s"):
        return tr("The cause depends on whether the last ACKs of clients are among these packets")
    if f.has("finished_ever"):
        return tr(
            "No handshake has ever finished here: a flood looks the same as clients whose last ACKs are lost on the "
            "way. The cause depends on whether their ACKs arrive"
        )
    if f.has("hosts"):
        return tr_n(
            "One host begins {rate} of them and finishes none: a host that floods looks the same as a client whose "
            "last ACKs are lost on the way. The cause depends on whether its ACKs arrive",
            "{n:,} hosts begin {rate} of them and finish none: hosts that flood look the same as clients whose last "
            "ACKs are lost on the way. The cause depends on whether their ACKs arrive",
            f.count("hosts"),
            rate=per_s(f, "from_hosts_per_s"),
        )
    if f.has("finish_others"):
        return tr(
            "{n:,} of these come from sources that finish other handshakes, or did so recently, such as a proxy or a "
            "NAT gateway: the last ACKs of some are lost, or somebody floods with their addresses. The cause depends "
            "on whether these ACKs arrive",
            n=f.count("finish_others"),
        )
    if f.has("EmbryonicRsts_per_s"):
        return tr("The cause depends on who sends them, which eBPF would count")
    if f.has("dropped_syns_per_s") and f.number("dropped_syns_per_s"):
        return tr(
            "The kernel drops such a SYN where it finds no route for the SYN-ACK, or no memory; the cause depends on "
            "whether this host has a route back to these clients"
        )
    if f.has("dropped_syns_per_s"):
        return tr(
            "None was dropped in {time}: the cause is gone, or comes and goes", time=lasted(f.number("interval_s"))
        )
    if f.has("dropped_syns"):
        return tr("The cause depends on whether more SYNs are dropped")
    if f.has("resetting_sources"):
        return tr(
            "The RSTs come from {n:,} sources: clients that wait for less than a round trip, or the owners of forged "
            "addresses. Either leaves nothing half-open",
            n=f.count("resetting_sources"),
        )
    if f.has("reset_per_s"):
        return tr(
            "The cause depends on why these clients give up: they may be far away and wait for less than a round trip"
        )
    if f.has("lasting") and not f.count("lasting"):
        return tr("All of them are young; the next few seconds show whether they finish")
    return tr("The cause depends on whether other handshakes from the same sources finish")


@sentence("answered")
def _answered(f: Finding) -> str:
    if f.has("ListenOverflows"):
        return tr_n(
            "{n:,} client of {at} answered, and the kernel made no connection of the ACK, though no accept queue has "
            "overflowed: as where it finds no route back to the client, or no memory",
            "{n:,} clients of {at} answered, and the kernel made no connection of the ACKs, though no accept queue has "
            "overflowed: as where it finds no route back to the clients, or no memory",
            f.count("answered"),
            at=at(f),
        )
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
        "{n:,} of them may have answered: {doubt}, and the kernel then ignores the last ACK of a "
        "handshake; only eBPF can tell whether they did, and release leaves them alone",
        n=f.count("may_have_answered"),
        doubt=f.text("doubt"),
    )


@sentence("incomplete-reading")
def _incomplete_reading(f: Finding) -> str:
    return tr("this reading is incomplete: {problem}", problem=told(f.text("problem")))


@sentence("not-shown")
def _not_shown(f: Finding) -> str:
    return f.text("note")
