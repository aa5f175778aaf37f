"""Fields that are said twice, in JSON and YAML."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.kube.api.duplicates import duplicate_fields
from proa.kube.api.yaml_body import read_yaml, read_yaml_strictly

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 1]))
def test_what_a_library_writes_says_nothing_twice(value: Any, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    assert duplicate_fields(body, orjson.loads(body)) == []


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"a":1,"a":2}', ["a"]),
        (b'{"a":{"b":1,"b":{"c":1}},"l":[{"x":1},{"x":1,"x":2}],"a":3}', ["a.b", "l[1].x", "a"]),
        (b'{"a":":","a":"\\":"}', ["a"]),
        (b'{"\\u0061":1,"a":2}', ["a"]),
        (b'{"a":1,"a":2,"b":1e6}', ["a"]),  # as long as what it says once, written again
    ],
)
def test_repeated_fields_are_named(body: bytes, paths: list[str]) -> None:
    assert duplicate_fields(body, orjson.loads(body)) == paths


def test_a_body_too_deep_to_be_kept_is_no_body() -> None:
    body = b"[" * 400 + b"]" * 400
    with pytest.raises(ValueError, match="exceeded max depth"):
        duplicate_fields(body, orjson.loads(body))


def test_repeated_keys_of_yaml_are_named_by_their_lines() -> None:
    text = b"a: 1\nb: {c: 1, c: 2}\nd:\n- {x: 1}\n- {x: 1, y: [1], x: 2}\na: &q {z: 1}\ne: *q\n"
    assert read_yaml_strictly(text)[1] == [
        'line 2: key "c" already set in map',
        'line 5: key "x" already set in map',
        'line 6: key "a" already set in map',
    ]
    assert read_yaml_strictly(b"base: &b {x: 1}\nm: {<<: *b, y: 2}\n")[1] == []


def test_whole_numbers_of_yaml_are_whole_however_they_are_written() -> None:
    found = read_yaml(b"[3.0, 1e3, 0.5, -0.0, 1e30]")
    assert found == [3, 1000, 0.5, 0, 1e30]
    assert [type(item) for item in found] == [int, int, float, int, float]
    found = read_yaml(b"[010, 0o17, 0x1F, 08, 1_000, 1:30, y, No, on, 2020-01-01, ~, '3.0', -2]")
    assert found == [
        8, 15, 31, 8, 1000, "1:30", True, False, True, "2020-01-01", None, "3.0", -2,
    ]  # fmt: skip
    for text in (b"[.inf]", b"[.nan]"):
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            read_yaml(text)


def test_spaces_and_escapes_hide_no_duplicate() -> None:
    said = b'{ "a" : "\\u0022\\u0022", "b": 1, "a" : "x" }'
    assert duplicate_fields(said, orjson.loads(said)) == ["a"]
    once = b'{ "a" : "x", "b": [ {"a": "y"} ] }'
    assert duplicate_fields(once, orjson.loads(once)) == []
