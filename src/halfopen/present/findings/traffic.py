"""Sentences about floods, scans and paths, and about handshakes that finish."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.words import a_second, at, held, lasted, lead, per_s, round_trip, sentence, synacks, syns
from halfopen.present.language import listed, tr, tr_n


def unanswered(f: Finding) -> str:
    """The rates that decide: handshakes that nobody answers beside handshakes that finish."""
    rates = {"rate": synacks(f, "unanswered_per_s"), "finished": a_second(f, "completions_per_s")}
    return tr("{rate} are never answered while {finished} handshakes/s finish", **rates)


# A share of a SYN queue.
_FULL: Final = 0.9
# A share of the SYNs; from here on it is shown as 100 %.
_ALL: Final = 0.995


# --- floods -----------------------------------------------------------------------------------------------------------


def _flood(f: Finding, now: str, over: str, *, named: bool = False) -> tuple[str, str]:
    """now, over: who floods, or flooded; named: with the number of sources."""
    if f.has("last_syn_s"):
        since = lasted(f.number("last_syn_s"))
        return tr("{who} is over: the last SYN came {since} ago", who=over, since=since), listed(_afterwards(f))
    rate = _of_all(f, synacks(f, "unanswered_per_s"))
    if f.has("dropped_syns_per_s") and f.number("dropped_syns_per_s") > f.number("unanswered_per_s"):
        values = {
            "who": now,
            "rate": per_s(f, "unanswered_per_s"),
            "dropped": _of_all(f, syns(f, "dropped_syns_per_s")),
        }
        brief = tr(
            "{who}: {dropped} are dropped, including those of clients, and {rate} more find room but "
            "are never answered",
            **values,
        )
        return brief, listed([_meanwhile(f), _last(f, sources=not named), _in_doubt(f)]) + _room(f)
    values = {"who": now, "rate": rate, "clients": _clients(f)}
    if f.has("entering_per_s"):
        young = syns(f, "entering_per_s")
        brief = tr(
            "{who}: {young} arrive now, too recently to judge; of those before, {rate} were never answered; {clients}",
            young=young,
            **values,
        )
    else:
        brief = tr("{who}: {rate} are never answered, {clients}", **values)
    return brief, listed([_meanwhile(f), _last(f, sources=not named), _in_doubt(f)]) + _room(f)


def _of_all(f: Finding, rate: str) -> str:
    """A rate, and that it is not of the listener alone where it is not."""
    return tr("{rate} in the whole namespace", rate=rate) if f.has("unanswered_of") else rate


def _clients(f: Finding) -> str:
    """Whether clients get in."""
    finished, rate = f.number("completions_per_s"), per_s(f, "completions_per_s")
    if f.listener is not None and f.text("completions_of") != "listener":
        rate = tr("{rate} in the whole namespace", rate=rate)
    if f.has("dropped_syns_per_s"):
        dropped = _of_all(f, syns(f, "dropped_syns_per_s"))
        return tr("another {rate} are dropped, including those of clients", rate=dropped)
    if f.number("cookies_unanswered_per_s"):
        if finished:
            return tr("clients get in by SYN cookie ({rate})", rate=rate)
        # Below its cap the cookies are those of a guard.
        if not f.has("syn_queue") or f.number("syn_queue") >= _FULL * (f.fact("syn_queue").limit or 0):
            return tr("the queue is full, and a client would get in by SYN cookie")
    if finished:
        return tr("clients get in ({rate})", rate=rate)
    return tr("no handshake finished meanwhile")


def _meanwhile(f: Finding) -> str:
    """More of what finishes, and of what is answered by cookie."""
    parts = []
    if f.number("completions_per_s") and f.has("finished_by_them"):
        parts.append(tr("none of these sources finishes a handshake"))
    if f.number("cookies_unanswered_per_s"):
        parts.append(tr("{rate} of them get a SYN cookie", rate=per_s(f, "cookies_unanswered_per_s")))
    if f.has("like_clients"):
        parts.append(
            tr(
                "clients whose last ACKs are lost on the way look the same, and so do clients that hear nothing and "
                "give up within a second"
            )
        )
    return listed(parts)


def _in_doubt(f: Finding) -> str:
    if not f.has("answers_unseen"):
        return ""
    return tr("only eBPF can tell whether they answered and sent no data (TCP_DEFER_ACCEPT)")


def _last(f: Finding, *, sources: bool = True) -> str:
    since, n = lasted(f.number("lasting_since_s")), f.count("lasting")
    hosts = tr_n("{n:,} source", "{n:,} sources", f.count("distinct_sources"))
    if not n:
        return tr("they come from {hosts}, each of them once", hosts=hosts)
    again = f.count("repeated")
    told = (
        tr("{n:,} of them have retransmitted their SYN", n=again)
        if again
        else tr("none of them has retransmitted its SYN")
    )
    if f.has("repeats_unknown"):
        told = tr("only eBPF can tell now whether they retransmit their SYN")
    if not sources:
        return tr("{n:,} half-open for more than {since}; {again}", n=n, since=since, again=told)
    return tr("{n:,} half-open for more than {since}, from {hosts}; {again}", n=n, since=since, hosts=hosts, again=told)


def _afterwards(f: Finding) -> list[str]:
    """The rest of a flood that is over."""
    came, left = syns(f, "came_per_s"), lasted(f.number("given_up_s"))
    parts = [tr("{rate} came while it lasted", rate=came)]
    full = f.has("syn_queue") and f.number("syn_queue") >= (f.fact("syn_queue").limit or 0)
    if full:
        parts.append(tr("they still fill the queue ({held})", held=held(f, "syn_queue")))
    waits = tr_n("{n:,} still waits", "{n:,} still wait", f.count("lasting"))
    parts.append(tr("{waits}, and the kernel gives up the last of them within {left}", waits=waits, left=left))
    parts.append(tr("a release frees the queue now"))
    return parts


def _room(f: Finding) -> str:
    """How soon a release would be undone."""
    if not f.has("syn_queue") or f.has("unanswered_of"):
        return ""
    # A place that becomes free is taken by the next SYN, one that is dropped now as well.
    dropped = f.number("dropped_syns_per_s") if f.has("dropped_syns_per_s") else 0.0
    coming = f.number("entering_per_s") if f.has("entering_per_s") else f.number("unanswered_per_s")
    rate, limit = coming + dropped, f.fact("syn_queue").limit or 0
    if rate < 1 or limit / rate > 60:
        return ""
    return tr(". After a release, the queue fills up within {time}", time=lasted(max(0.1, round(limit / rate, 1))))


@lead("spoofed-flood")
def _spoofed_flood(f: Finding) -> tuple[str, str]:
    if f.listener is None:
        return _flood(f, tr("SYN flood from forged addresses"), tr("the SYN flood from forged addresses"))
    where = at(f)
    now = tr("SYN flood on {at} from forged addresses", at=where)
    return _flood(f, now, tr("the SYN flood on {at} from forged addresses", at=where))


def _whom(f: Finding) -> str:
    return tr("several listeners") if f.listener is None else at(f)


@lead("few-sources-flood")
def _few_sources_flood(f: Finding) -> tuple[str, str]:
    n, prefix = f.count("distinct_sources"), f.text("prefix")
    over = tr("the flood of {at}, most of it from {prefix},", at=_whom(f), prefix=prefix)
    if n == 1:
        return _flood(f, tr("{prefix} floods {at} or is broken", prefix=prefix, at=_whom(f)), over, named=True)
    values = {"n": n, "at": _whom(f), "prefix": prefix, "share": f"{f.number('share'):.0%}"}
    if f.number("share") >= _ALL:
        now = tr("{n:,} addresses of {prefix} flood {at} or are broken", **values)
    else:
        now = tr("{n:,} addresses, {share} from {prefix}, flood {at} or are broken", **values)
    return _flood(f, now, over, named=True)


@lead("prefix-flood")
def _prefix_flood(f: Finding) -> tuple[str, str]:
    values = {"prefix": f.text("prefix"), "at": _whom(f)}
    now = tr_n(
        "the network {prefix} floods {at} or is broken",
        "{n:,} addresses of one network, {prefix}, flood {at} or are broken",
        f.count("distinct_sources"),
        **values,
    )
    return _flood(f, now, tr("the flood of {at} from one network, {prefix},", **values), named=True)


# --- paths ------------------------------------------------------------------------------------------------------------


def _up_to(f: Finding) -> str:
    return tr(", for up to {time}", time=lasted(f.number("oldest_s"))) if f.has("oldest_s") else ""


def _way_back(f: Finding) -> str:
    """Where the SYN-ACKs go, as far as the routes of this host tell."""
    if f.has("no_way_back"):
        return tr("this host has no route back to them ({error})", error=f.text("no_way_back"))
    if not f.has("came_by"):
        return tr("a firewall or route drops the way back")
    devices = {"came_by": f.text("came_by"), "back_by": f.text("back_by")}
    if devices["came_by"] != devices["back_by"]:
        return tr("their SYNs come in by {came_by}, and the route back leaves by {back_by}", **devices)
    return tr("the route back leaves by {back_by}, as their SYNs come in: the way is cut behind it", **devices)


@sentence("synacks-lost")
def _synacks_lost(f: Finding) -> str:
    whom = tr("clients of {at}", at=at(f))
    if f.has("prefix"):
        whom = tr("clients of {at} in {prefix}", at=at(f), prefix=f.text("prefix"))
    text = tr(
        "SYN-ACKs do not reach {whom}: {again:,} of {n:,} waiting clients have retransmitted their SYN{up_to}; {why}",
        whom=whom,
        again=f.count("repeated"),
        n=f.count("lasting"),
        up_to=_up_to(f),
        why=_way_back(f),
    )
    if f.has("beside_per_s"):
        beside = tr(
            "others of the same sources finish at {rate}, so a part of the connections goes a way that is cut, such as "
            "one of several links",
            rate=per_s(f, "beside_per_s"),
        )
        return listed([text, beside])
    if f.has("completions_per_s") and f.number("completions_per_s"):
        text = listed([text, tr("others finish at {rate}", rate=per_s(f, "completions_per_s"))])
    return text


@sentence("synacks-unsent")
def _synacks_unsent(f: Finding) -> str:
    return tr(
        "SYN-ACKs of {at} do not leave this host: in {time} the kernel gave up {n:,} handshakes "
        "because it could not send their second SYN-ACK, and none of these finishes; perhaps "
        "a firewall rule drops outgoing packets",
        at=at(f),
        time=lasted(f.number("interval_s")),
        n=f.count("given_up_at_once"),
    )


@lead("no-route-back")
def _no_route_back(f: Finding) -> tuple[str, str]:
    text = tr(
        "{rate} SYNs/s to {at} are dropped because this host has no route back to their sources",
        rate=a_second(f, "dropped_syns_per_s"),
        at=at(f) if f.listener is not None else tr("this host"),
    )
    if not f.has("drawn_sources"):
        return text, _no_route(f)
    drawn = tr(
        "these SYNs come from {n:,} addresses that look drawn at random: forged ones rather than clients",
        n=f.count("drawn_sources"),
    )
    return text, listed([_no_route(f), drawn])


def _no_route(f: Finding) -> str:
    if f.has("no_way_back"):
        return tr(
            "for {source} the kernel finds none ({error}): an unreachable or blackhole route, or no default route",
            source=f.text("source"),
            error=f.text("no_way_back"),
        )
    return tr(
        "{lost} packets/s find none: an unreachable or blackhole route, or no default route",
        lost=a_second(f, "no_route_per_s"),
    )


@sentence("acks-lost")
def _acks_lost(f: Finding) -> str:
    values = {
        "whose": tr("clients in {prefix}", prefix=f.text("prefix")) if f.has("prefix") else tr("clients"),
        "n": f.count("lasting"),
        "up_to": _up_to(f),
        "before": tr_n("{n:,} address", "{n:,} addresses", f.count("finished_lately")),
        "time": lasted(f.number("last_finished_s")),
    }
    if f.has("repeats_unknown"):
        return tr(
            "the last ACKs of {whose} do not arrive, or the SYN-ACKs do not reach them: {n:,} handshakes stay "
            "half-open{up_to}; {before} of theirs finished handshakes before, the last one {time} ago. Only eBPF can "
            "tell now whether they retransmit their SYN",
            **values,
        )
    return tr(
        "the last ACKs of {whose} do not arrive: {n:,} handshakes stay half-open{up_to}, and none of "
        "these clients retransmits its SYN, so the SYN-ACKs do reach them; {before} of theirs "
        "finished handshakes before, the last one {time} ago",
        **values,
    )


# A shorter round trip is not shown.
_SHOWN_S: Final = 0.001


@sentence("slow-path")
def _slow_path(f: Finding) -> str:
    if not f.has("retrying"):
        return tr("slow or lossy paths: {rates}; {last}", rates=unanswered(f), last=_last(f))
    where = (
        tr("slow or lossy path to {prefix}", prefix=f.text("prefix")) if f.has("prefix") else tr("slow or lossy paths")
    )
    if f.has("rtt_s") and f.number("rtt_s") >= _SHOWN_S:
        where = tr("{where} (round trip {time})", where=where, time=round_trip(f.number("rtt_s")))
    if f.has("release_time_s"):
        where = tr(
            "{where}, longer than the release time of a listener ({time})",
            where=where,
            time=lasted(f.number("release_time_s")),
        )
    if not f.has("finished"):
        return tr_n(
            "{where}: {n:,} handshake of clients that finish others waits after a retransmitted SYN-ACK",
            "{where}: {n:,} handshakes of clients that finish others wait after a retransmitted SYN-ACK",
            f.count("retrying"),
            where=where,
        )
    seconds = lasted(f.number("interval_s"))
    text = tr("{where}: {n:,} handshakes finished in {time}", where=where, n=f.count("finished"), time=seconds)
    if not f.count("late"):
        return tr_n(
            "{text}, none of them late; {n:,} more waits after a retransmitted SYN-ACK",
            "{text}, none of them late; {n:,} more wait after a retransmitted SYN-ACK",
            f.count("retrying"),
            text=text,
        )
    text = tr("{text}, {n:,} of them after a retransmitted SYN-ACK", text=text, n=f.count("late"))
    if not f.count("retrying"):
        return text
    return tr_n(
        "{text}; {n:,} more still waits after one",
        "{text}; {n:,} more still wait after one",
        f.count("retrying"),
        text=text,
    )


@sentence("scan")
def _scan(f: Finding) -> str:
    rates = {"syns": per_s(f, "syns_per_s"), "resets": per_s(f, "resets_per_s")}
    if f.has("scanners"):
        text = tr(
            "{sources:,} sources, most of all {source}, send SYNs ({syns}) to {n:,} listeners and reset each "
            "connection that is answered ({resets})",
            sources=f.count("scanners"),
            source=f.text("source"),
            n=f.count("ports"),
            **rates,
        )
    else:
        text = tr(
            "{source} sends SYNs ({syns}) to {n:,} listeners and resets each connection that is answered ({resets})",
            source=f.text("source"),
            n=f.count("ports"),
            **rates,
        )
    return listed([text, tr_n("{n:,} handshake finished", "{n:,} handshakes finished", f.count("finished"))])


@sentence("acked-flood")
def _acked_flood(f: Finding) -> str:
    text = tr_n(
        "{prefix} acknowledges the SYN-ACKs of {at} and sends nothing more, so its address is not forged: {held:,} of "
        "its connections wait for data past TCP_DEFER_ACCEPT ({time}), more of them come, and none finishes",
        "{n:,} hosts, most of all {prefix}, acknowledge the SYN-ACKs of {at} and send nothing more, so their addresses "
        "are not forged: {held:,} of their connections wait for data past TCP_DEFER_ACCEPT ({time}), more of them "
        "come, and none finishes",
        f.count("hosts"),
        prefix=f.text("prefix"),
        at=at(f),
        held=f.count("acked"),
        time=lasted(f.number("defer_accept_s")),
    )
    return tr("{text}; SYN queue {held}", text=text, held=held(f, "syn_queue")) if f.has("syn_queue") else text


@sentence("handshakes-finish")
def _handshakes_finish(f: Finding) -> str:
    if not f.has("handshake_s"):
        values = {"n": f.count("half_open"), "rate": per_s(f, "completions_per_s")}
        return tr("{n:,} handshakes are under way and finish: {rate}, some of them by SYN cookie", **values)
    return tr(
        "{n:,} handshakes are under way and finish: {rate}, each after about {time}",
        n=f.count("half_open"),
        rate=per_s(f, "completions_per_s"),
        time=lasted(f.number("handshake_s")),
    )
