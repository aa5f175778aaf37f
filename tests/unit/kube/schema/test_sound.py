"""What is seen at a glance to keep the rules does keep them, and the common object is seen so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.kube.schema import names, sound
from proa.kube.schema.checks import basics, cluster

RULES = [names.subdomain_faults, names.label_faults, names.dns1035_faults]
# Letters of which rules care, in texts that break them as often as not.
texts = st.one_of(
    st.text("aZ0-._/\n é", max_size=6),
    st.integers(60, 66).map("a".__mul__),
    st.integers(250, 256).map("a".__mul__),
    st.tuples(st.text("a0-.", max_size=3), st.integers(60, 64)).map(lambda x: x[0] + "b" * x[1]),
    st.tuples(st.text("a0-.", max_size=3), st.text("aZ_-.", max_size=3)).map("/".join),
)
long_texts = st.one_of(texts, st.sampled_from([4096, 4097, 22_000]).map("é".__mul__))
owners = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from(["", "x"]) for name in ("apiVersion", "kind", "name", "uid")},
        "controller": st.booleans(),
    },
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "generateName": texts,
        "labels": st.dictionaries(texts, texts, max_size=3),
        "annotations": st.dictionaries(texts, long_texts, max_size=14),
        "finalizers": st.lists(texts, max_size=2),
        "ownerReferences": st.lists(owners, max_size=3),
    },
)


@given(st.sampled_from(RULES), metadata)
def test_sound_metadata_breaks_no_rule(faults: sound.Faults, given: dict[str, Any]) -> None:
    if sound.is_sound_metadata(faults, given):
        assert not basics.metadata_errors(faults, given)


@given(st.dictionaries(texts, texts, max_size=3))
def test_sound_labels_break_no_rule(labels: dict[str, str]) -> None:
    if sound.are_sound_labels(labels):
        assert not basics.label_errors(labels, "metadata.labels")


@given(
    st.dictionaries(texts, st.sampled_from([0, 9, 16_384, 16_385]).map("é".__mul__), max_size=18)
)
def test_sound_data_breaks_no_rule(data: dict[str, str]) -> None:
    if sound.is_sound_data(data):
        assert not cluster.data_errors(data, {}, encoded=False)


@pytest.mark.parametrize("name", ["a\n", "A", "", "a" * 254, "-a", "a..b", "é", "\ud800"])
def test_what_no_object_may_be_named_is_not_sound(name: str) -> None:
    assert not sound.is_sound_metadata(names.subdomain_faults, {"name": name})


def test_a_name_is_sound_by_the_rule_of_its_kind() -> None:
    assert sound.is_sound_metadata(names.subdomain_faults, {"name": "a.b"})
    assert not sound.is_sound_metadata(names.label_faults, {"name": "a.b"})
    assert not sound.is_sound_metadata(names.path_segment_faults, {"name": "a"})


def test_the_common_object_is_sound() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u", "controller": True}
    common = {
        "name": "web-5d9f7d-x2x4c",
        "labels": {"app.kubernetes.io/name": "web", "empty": ""},
        "annotations": {"kubernetes.io/change-cause": "Because, é."},
        "ownerReferences": [owner],
    }
    assert sound.is_sound_metadata(names.subdomain_faults, common)
    assert sound.is_sound_data({"a.key": "x", ".hidden": "", "_A": "é" * 16_384})


@pytest.mark.parametrize("key", ["..a", ".", "..", "a b", "a/b", "a\n", "é", "a" * 254])
def test_keys_that_data_may_not_have_are_not_sound(key: str) -> None:
    assert not sound.is_sound_data({key: "x"})
    assert cluster.data_errors({key: "x"}, {}, encoded=False)
