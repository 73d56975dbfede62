"""Fields of the JSON documents of `tune`: settings, listeners and changes."""

from __future__ import annotations

from typing import Final

from halfopen.core.fields.field import Field, Kind
from halfopen.core.tune.change_row import ChangeRow
from halfopen.core.tune.false_cures import FalseCure
from halfopen.core.tune.ledger import Change, Now
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.plan import listener_record
from halfopen.core.tune.settings import Advice
from halfopen.core.tune.shown import Shown
from halfopen.core.tune.sysctl_d import Override

_KEY: Final = (
    "full name of the setting; of a listener's option: `listener.backlog`, `listener.retries` (TCP_SYNCNT), "
    "`listener.defer_accept`"
)
_LISTENER: Final = (
    "the listener whose option it is: `address`, `port`, `inode` and `cookie` (the kernel's name for this very "
    "socket); null for other changes"
)
_FILE: Final = "the file whose line it is; null for a change of the running system"

SETTING: Final[tuple[Field[tuple[Shown, Advice]], ...]] = (
    Field("key", "full name", lambda s: s[1].key, "string", kind=Kind.LABEL),
    Field("value", "the value now", lambda s: s[1].value),
    Field("effect", "what it does, given the values of the other settings", lambda s: s[1].effect, "string"),
    Field(
        "idle",
        "whether it has no effect on half-open connections, at all or given the values of the other settings",
        lambda s: s[1].idle,
        "boolean",
    ),
    Field(
        "needed",
        "it should be changed now (`status` says the same) or, with a goal, to reach that goal; "
        "false if it is only worth changing before a flood",
        lambda s: s[0].should_change(s[1]),
        "boolean",
    ),
    Field(
        "recommended",
        "the value it should have, with a goal: for that goal; null when there is nothing to change",
        lambda s: s[1].recommended,
        "number or null",
    ),
    Field("reason", "why", lambda s: s[1].reason, "string"),
    Field("cost", "what the recommended value costs", lambda s: s[1].cost, "string"),
)
SUMMARY: Final[tuple[Field[ListenerSummary], ...]] = (
    Field("address", "address listened on", lambda s: s.address, "string", kind=Kind.LABEL),
    Field("port", "port", lambda s: s.port, kind=Kind.LABEL),
    Field("backlog", "the limit of each of its two queues, after `somaxconn`", lambda s: s.backlog),
    Field(
        "synack_retries",
        "`TCP_SYNCNT`, which overrides `tcp_synack_retries`; null when it is not set or cannot be read",
        lambda s: s.retries,
        "number or null",
    ),
    Field(
        "defer_accept_s",
        "`TCP_DEFER_ACCEPT`, 0: off; null when it cannot be read",
        lambda s: s.deferred_s,
        "number or null",
        "s",
    ),
)
NO_CURE: Final[tuple[Field[tuple[FalseCure, int | None]], ...]] = (
    Field("key", "full name", lambda c: c[0].key, "string", kind=Kind.LABEL),
    Field("value", "the value now; null where there is no such setting", lambda c: c[1], "number or null"),
    Field("truth", "what became of this setting, or what it really concerns", lambda c: c[0].truth, "string"),
)
OVERRIDE: Final[tuple[Field[Override], ...]] = (
    Field("key", "full name of the setting", lambda o: o.key, "string", kind=Kind.LABEL),
    Field(
        "value",
        "the value it sets, as written there; null: the key is left out (`-key`)",
        lambda o: o.value,
        "string or null",
    ),
    Field("path", "the file that is read later than ours", lambda o: o.path, "string"),
    Field("line", "its line", lambda o: o.line),
    Field("at_boot", "false: only when `sysctl --system` is run", lambda o: o.at_boot, "boolean"),
)
UNDONE: Final[tuple[Field[ChangeRow], ...]] = (
    Field(
        "id",
        "the change's number in the journal; null when nothing had to be changed",
        lambda r: r.id,
        "number or null",
    ),
    Field(
        "netns", "the namespace, as it was named when the change was made", lambda r: r.netns, "string", kind=Kind.LABEL
    ),
    Field("key", _KEY, lambda r: r.key, "string", kind=Kind.LABEL),
    Field("listener", _LISTENER, lambda r: listener_record(r.listener), "object or null"),
    Field("file", _FILE, lambda r: r.file, "string or null"),
    Field("from", "the value before; null: not set", lambda r: r.from_, "number or null"),
    Field(
        "to",
        "the value after, the same when nothing was written; of a refused change the value asked for; null: not set",
        lambda r: r.to,
        "number or null",
    ),
    Field(
        "state",
        "made: `done`; `clamped` (the kernel made something else of it); `refused` (by the kernel; nothing changed); "
        "`already` (nothing to change); `wanted` (a dry run). Undone: `undone`; `left` (somebody else changed it "
        "since); `gone` (the namespace, the setting, the listener, or the boot); `failed`; `already` (it was not in "
        "force); `refused` (a command was interrupted before it made the change)",
        lambda r: r.state,
        "string",
    ),
    Field("reason", "why it was changed; empty where it was undone", lambda r: r.reason, "string"),
    Field("why", "what happened, if the state does not say it", lambda r: r.why, "string"),
)
MADE: Final[tuple[Field[ChangeRow], ...]] = (
    *UNDONE,
    Field(
        "cost", "what the change costs; empty where it costs nothing, or nothing changes", lambda r: r.cost, "string"
    ),
)
LOGGED: Final[tuple[Field[tuple[Change, Now | None]], ...]] = (
    Field("id", "the change's number", lambda c: c[0].id),
    Field("time", "when it was made", lambda c: c[0].began.time_s),
    Field(
        "user",
        "who called sudo; null where that is not known",
        lambda c: c[0].began.who.get("sudo_user"),
        "string or null",
    ),
    Field("uid", "user id; null where that is not known", lambda c: c[0].began.who.get("uid"), "number or null"),
    Field(
        "netns", "the namespace, by its name at that time", lambda c: c[0].began.place.name, "string", kind=Kind.LABEL
    ),
    Field("netns_inode", "the kernel's identity of the namespace", lambda c: c[0].began.place.inode),
    Field(
        "netns_cookie",
        "the kernel's other identity of the namespace, never used again within a boot; null on kernels before 5.14",
        lambda c: c[0].began.place.cookie,
        "number or null",
    ),
    Field("boot_id", "the boot it was made in", lambda c: c[0].began.place.boot_id, "string"),
    Field("key", _KEY, lambda c: c[0].began.key, "string", kind=Kind.LABEL),
    Field("listener", _LISTENER, lambda c: listener_record(c[0].began.listener), "object or null"),
    Field("file", _FILE, lambda c: c[0].began.file, "string or null"),
    Field("from", "the value before; null: not set", lambda c: c[0].began.old, "number or null"),
    Field("to", "the value it set, as the kernel had it; null: not set", lambda c: c[0].value, "number or null"),
    Field(
        "original",
        "the value that undoing everything restores; null: not set",
        lambda c: c[0].original,
        "number or null",
    ),
    Field("until", "when it is reverted automatically; null: never", lambda c: c[0].began.until_s, "number or null"),
    Field(
        "state",
        "`begun` or `undoing` (interrupted; the next tune command settles it), `done` (in force), `refused`, `undone`, "
        "`left`, `gone`",
        lambda c: c[0].state,
        "string",
    ),
    Field("state_time", "since when", lambda c: c[0].time_s),
    Field("reason", "`--reason` of the change; empty without", lambda c: c[0].began.reason, "string"),
    Field(
        "why",
        "what happened, if the state does not say it; also `--reason` of the undo",
        lambda c: c[0].why,
        "string",
    ),
    Field(
        "value",
        "what the setting holds now; null when the change is not in force, or it could not be read",
        lambda c: None if c[1] is None else c[1].value,
        "number or null",
    ),
)
