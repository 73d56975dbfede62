"""The comparison of schemas finds what a program that reads the documents would trip over, and no more."""

from __future__ import annotations

import pytest

from schemas import differences, golden, tree

OLD = {"schema": "halfopen.x/1", "items": [{"a": 1, "b": None}, {"a": 2.5, "b": "text"}], "settings": {"k": 1}}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (OLD, []),
        ({**OLD, "more": 1}, []),
        ({**OLD, "items": []}, []),
        ({**OLD, "settings": {"other": 2}}, []),
        ({"schema": "halfopen.x/1", "items": OLD["items"]}, [".settings is gone"]),
        ({**OLD, "items": [{"a": 1}]}, [".items[].b is gone"]),
        ({**OLD, "items": [{"a": "1", "b": None}]}, [".items[].a was 'number' and is 'string'"]),
        ({**OLD, "items": [{"a": True, "b": None}]}, [".items[].a was 'number' and is 'boolean'"]),
        ({**OLD, "items": {}}, [".items was [{'a': 'number', 'b': 'string'}] and is {}"]),
    ],
)
def test_differences(new: dict[str, object], expected: list[str]) -> None:
    assert differences(tree(OLD), tree(new)) == expected


def test_there_is_a_golden_tree_for_each_kind_of_document() -> None:
    kinds = {name.partition("/")[0].removeprefix("halfopen.") for name in golden()}
    reading = {"advise", "status", "list", "diagnose", "handshakes", "release-time", "doctor", "watch"}
    changing = {"release", "audit", "tune-show", "tune-apply", "tune-listener", "tune-undo", "tune-log"}
    assert kinds == reading | changing
