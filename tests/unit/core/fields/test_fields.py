"""The registries: each value has its name, meaning and getter once; what is made from them names the same things."""

from __future__ import annotations

import json
from typing import Any

import pytest

import build_docs
from halfopen.core.fields.closing_seen import SEEN
from halfopen.core.fields.connection import LIST, Chunk
from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.field import Field, cell, columns, json_object
from halfopen.core.fields.handshakes import BUCKET, HANDSHAKES, TIMES
from halfopen.core.fields.handshakes import LISTENER as HANDSHAKES_LISTENER
from halfopen.core.fields.listener import AGES, LISTENER, RELEASE_TIME
from halfopen.core.fields.metrics import LISTENER_METRICS, NAMESPACE_METRICS, WATCH_METRICS
from halfopen.core.fields.namespace import COMPLETENESS, NAMESPACE, PLACE
from halfopen.core.fields.process import PROCESS
from halfopen.core.fields.source import SOURCE
from halfopen.core.fields.tune_listener import LISTENER as TUNE_LISTENER
from halfopen.core.fields.watch import READING
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.present import rows, statusjson
from rows import UNSEEN, listener, part, request, sample

REGISTRIES: dict[str, tuple[Field[Any], ...]] = {
    "list": LIST,
    "listener": LISTENER,
    "ages": AGES,
    "release-time": RELEASE_TIME,
    "process": PROCESS,
    "source": SOURCE,
    "place": PLACE,
    "namespace": NAMESPACE,
    "completeness": COMPLETENESS,
    "handshakes": HANDSHAKES,
    "handshakes-listener": HANDSHAKES_LISTENER,
    "times": TIMES,
    "bucket": BUCKET,
    "watch": READING,
    "tune-listener": TUNE_LISTENER,
    "namespace-metrics": NAMESPACE_METRICS,
    "listener-metrics": LISTENER_METRICS,
    "watch-metrics": WATCH_METRICS,
}
TYPES = {"number", "string", "boolean", "object", "array", "array of numbers", "array of strings"}


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_field_is_complete(name: str) -> None:
    found = REGISTRIES[name]
    values = [f.name for f in found if f.get is not None]
    assert len(set(values)) == len(values)
    for field in found:
        assert field.name.isidentifier()
        assert field.get is not None or (field.title and field.show is not None)
        assert field.help or field.get is None
        assert "\n" not in field.help
        assert field.title == field.title.upper()
        assert field.type.removesuffix(" or null") in TYPES
        assert field.unit in ("", "s")
        assert not field.name.endswith("_s") or field.name.endswith("per_s") or field.unit == "s"


def test_a_field_is_everything_a_new_value_needs() -> None:
    new: tuple[Field[str], ...] = (
        Field("letters", "how many `letters`", len, title="LETTERS", show=lambda s: f"{len(s):,}"),
        Field("first", "", title="FIRST", show=lambda s: s[0]),
    )
    assert json_object(new, "abc") == {"letters": 3}
    assert [f.title for f in columns(new)] == ["LETTERS", "FIRST"]
    assert [cell(f, "abc") for f in new] == ["3", "a"]
    assert build_docs.names(new).splitlines()[2:] == ["| `letters` | number | how many `letters` |"]
    assert new[0].plain_help == "How many letters"
    assert json_object([f.of(str) for f in new], 1234) == {"letters": 4}


def test_a_link_is_no_part_of_a_plain_help() -> None:
    field: Field[str] = Field("x", "seconds ([why](how.md#why)) of `y`", len)
    assert field.plain_help == "Seconds of y"


def test_getters_of_connections_give_a_value_and_a_cell_for_each() -> None:
    model = build(sample([request(source_port=n) for n in (1, 2, 3)], [listener()]))
    [chunk] = rows.chunks([part(model)])
    assert isinstance(chunk, Chunk)
    for field in LIST:
        assert field.get is not None
        assert len(field.get(chunk)) == 3
        assert field.show is None or len(field.show(chunk)) == 3


def test_the_list_keeps_the_names_that_stay_in_their_order() -> None:
    stay = "netns family local_address local_port remote_address remote_port age_s retransmits expires_s deferred"
    stay += " may_have_answered"
    names = [f.name for f in LIST]
    assert names[: len(stay.split())] == stay.split()
    shown = [part(build(sample([request()], [listener()])))]
    [line] = rows.ndjson_lines(shown)
    assert list(json.loads(line)) == names
    assert next(rows.csv_lines(shown)).splitlines()[0] == ",".join(names)


def test_counters_are_named_once() -> None:
    assert len(set(COUNTERS)) == len(COUNTERS)


def test_documents_have_the_registrys_names() -> None:
    model = build(sample([request()], [listener()]))
    [namespace] = statusjson.status([model], [judge(model)], [], [UNSEEN])["namespaces"]
    assert list(namespace) == [f.name for f in PLACE] + ["verdict"] + [f.name for f in NAMESPACE] + ["closing"]
    assert list(namespace["closing"]) == [f.name for f in SEEN] + ["verdict"]
    assert list(namespace["sources"][0]) == [f.name for f in SOURCE]
    assert list(namespace["listeners"][0]) == [f.name for f in LISTENER if f.get is not None]


@pytest.mark.parametrize(
    ("held", "backlog", "shown"), [(0, 64, "0/64"), (64, 64, "64/65"), (65, 64, "65/65"), (0, 0, "0/1"), (1, 0, "1/1")]
)
def test_an_accept_queue_is_never_shown_fuller_than_full(held: int, backlog: int, shown: str) -> None:
    (view,) = build(sample([], [listener(limit=backlog, accept_queue=held)])).listeners
    field = next(one for one in LISTENER if one.title == "ACCEPT QUEUE")
    assert cell(field, view) == shown
