"""Fields of `doctor --json`: features, and what grants those that are missing."""

from __future__ import annotations

from typing import Any, Final

from halfopen.core.features import Feature, Grant
from halfopen.core.fields.field import Field, Kind, json_object

GRANT: Final[tuple[Field[Grant], ...]] = (
    Field(
        "kind",
        "`capability`, `package`, `setting`, `kernel` (another one) or `host` (run it elsewhere, or allow it there)",
        lambda g: g.kind,
        "string",
        kind=Kind.LABEL,
    ),
    Field("name", "the capability, package, setting or kernel option", lambda g: g.name, "string", kind=Kind.LABEL),
    Field(
        "command", "the command that grants it; null where there is none", lambda g: g.command or None, "string or null"
    ),
)


def _grants(feature: Feature) -> list[dict[str, Any]]:
    return [json_object(GRANT, grant) for grant in feature.grants]


FEATURE: Final[tuple[Field[Feature], ...]] = (
    Field(
        "id",
        "stable: `sock_diag`, `proc_net_tcp`, `net_admin`, `release`, `nf_tables`, `namespaces`, `owners`, "
        "`pidfd_getfd`, `libbpf`, `btf`, `bpf_jit`, and `bpf:` with the name of an eBPF program",
        lambda f: f.id,
        "string",
        kind=Kind.LABEL,
    ),
    Field("purpose", "what it is for", lambda f: f.purpose, "string"),
    Field("outcome", "`yes`, `no` or `unknown`", lambda f: f.outcome.value, "string"),
    Field(
        "why",
        "why it does not work, or why that could not be determined; where it works, a detail or nothing",
        lambda f: f.why,
        "string",
    ),
    Field("needs", "the capabilities it takes, held or not", lambda f: list(f.needs), "array of strings"),
    Field("grants", "everything that is missing for it, see below", _grants, "array"),
)
