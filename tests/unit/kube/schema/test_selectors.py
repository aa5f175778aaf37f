"""Label and field selectors."""

from __future__ import annotations

import pytest

from proa.kube.schema.selectors import (
    SelectorError,
    field_requirements,
    field_selector,
    label_selector,
    label_selector_object,
)
from tests.unit.kube.schema.world import deployments, pods, resource

LABELS = {"app": "web", "tier": "front", "rank": "5", "example.com/x": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app == web , tier!=back", True),
        ("app=api", False),
        ("app in (api, web)", True),
        ("app notin (api,web)", False),
        ("missing notin (a)", True),
        ("missing!=a", True),
        ("missing", False),
        ("app", True),
        ("!missing,app", True),
        ("!app", False),
        ("rank>4,rank<6", True),
        ("rank>5", False),
        ("app>1", False),
        ("example.com/x=", True),
        ("app in ()", False),
        ("example.com/x in (,a)", True),
    ],
)
def test_label_selector_matches_as_written(text: str, matches: bool) -> None:
    assert label_selector(text)(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (b c)", "found 'c', expected: ',', ')' or identifier"),
        ("a in (b", "found '', expected: ',', ')' or identifier"),
        ("a>b", "the value must be an integer"),
        ("-a=b", 'key: Invalid value: "-a": name part must consist of'),
        ("a=b/c", 'values[0][a]: Invalid value: "b/c": a valid label must be'),
    ],
)
def test_label_selector_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as refused:
        label_selector(text)
    assert message in str(refused.value)


def test_label_selector_object_of_null_matches_nothing_and_empty_all() -> None:
    assert label_selector_object({})({}) is True
    assert label_selector_object(None)(LABELS) is False
    both = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
    }
    assert label_selector_object(both)(LABELS) is True
    assert label_selector_object(both)({"app": "web"}) is False
    with pytest.raises(SelectorError, match="not a valid label selector operator"):
        label_selector_object({"matchExpressions": [{"key": "a", "operator": "Like"}]})


POD = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"nodeName": "n1"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web,status.phase!=Pending", True),
        ("spec.nodeName=n2", False),
        ("spec.hostNetwork=false", True),
        ("status.podIP=", True),
    ],
)
def test_field_selector_reads_fields_of_pods(text: str, matches: bool) -> None:
    assert field_selector(pods(), text)(POD) is matches


def test_field_selector_knows_what_each_kind_supports() -> None:
    with pytest.raises(SelectorError, match=r"field label not supported: spec\.foo"):
        field_selector(pods(), "spec.foo=1")
    with pytest.raises(SelectorError) as refused:
        field_selector(deployments(), "spec.replicas=1")
    assert str(refused.value) == (
        '"spec.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )
    with pytest.raises(SelectorError, match="invalid selector: 'web'; can't understand 'web'"):
        field_selector(pods(), "web")
    with pytest.raises(SelectorError):
        field_selector(resource("nodes"), "metadata.namespace=a")


def test_field_selector_of_events_reads_their_object() -> None:
    event = {"involvedObject": {"kind": "Pod", "name": "web"}, "source": {"component": "agent"}}
    events = resource("events")
    assert field_selector(events, "involvedObject.name=web,source=agent")(event)
    assert not field_selector(events, "involvedObject.kind=Node")(event)


def test_field_requirements_are_given_apart_and_unescaped() -> None:
    parts = field_requirements(pods(), r"metadata.name=a\,b,status.phase!=Running")
    assert parts == [("metadata.name", "=", "a,b"), ("status.phase", "!=", "Running")]


def test_a_label_is_a_number_only_as_go_reads_numbers() -> None:
    """Python's int() would take 1_000 for a thousand."""
    assert not label_selector("size>5")({"size": "1_000"})
    assert not label_selector("size<5000")({"size": "1_000"})
    assert label_selector("size>5")({"size": "1000"})
