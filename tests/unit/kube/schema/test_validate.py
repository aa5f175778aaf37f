"""Reading objects as a Go server reads them, and its messages."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.base.quantity import parse_quantity
from proa.kube.schema.decode import GoError, Reading
from proa.kube.schema.errors import REQUIRED, UNKNOWN
from proa.kube.schema.quantity_text import canonical_quantity
from proa.kube.schema.validate import decode_error, prune_unknown, unknown_fields, validate
from tests.unit.kube.schema.world import (
    container,
    defaulted,
    deployment,
    deployments,
    kinds,
    pod,
    pods,
    resource,
    schemas,
)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"replicas": "3"},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas "
            "of type int32",
        ),
        (
            {"replicas": 1.5},
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas "
            "of type int32",
        ),
        (
            {"replicas": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field "
            "DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"paused": "yes"},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused "
            "of type bool",
        ),
        (
            {"template": []},
            "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.template "
            "of type v1.PodTemplateSpec",
        ),
        (
            {"template": {"spec": {"containers": {}}}},
            "json: cannot unmarshal object into Go struct field "
            "PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            {"template": {"spec": {"containers": [container(env=[{"name": "A", "value": 1}])]}}},
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            {"template": {"spec": {"containers": [container(resources={"limits": {"cpu": "x"}})]}}},
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_wrong_type_is_told_as_go_tells_it(spec: dict[str, Any], message: str) -> None:
    assert decode_error(deployments(), deployment(**spec)) == message


def test_labels_that_are_no_strings_name_the_map_that_holds_them() -> None:
    wrong = pod()
    wrong["metadata"]["labels"] = {"port": 80}
    assert decode_error(pods(), wrong) == (
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels "
        "of type string"
    )


def test_bad_base64_and_bad_times_are_told() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"k": "not base64!"}}
    assert decode_error(resource("secrets"), secret) == "illegal base64 data at input byte 3"
    wrong = pod()
    wrong["metadata"]["creationTimestamp"] = "yesterday"
    assert 'parsing time "yesterday"' in decode_error(pods(), wrong)


def test_unknown_fields_are_named_with_their_index_and_dropped() -> None:
    given = pod(containers=[container(), container(name="b", imagee="x")], foo=1)
    assert unknown_fields(pods(), given) == [
        'unknown field "spec.containers[1].imagee"',
        'unknown field "spec.foo"',
    ]
    kept = prune_unknown(pods(), given)
    assert "foo" not in kept["spec"]
    assert kept["spec"]["containers"][1] == container(name="b")
    assert "foo" in given["spec"]


def test_object_in_order_is_given_back_itself() -> None:
    given = pod()
    assert prune_unknown(pods(), given) is given
    assert validate(pods(), given, strict=True) == []


def test_nulls_and_empty_collections_fall_away_but_empty_structs_stay() -> None:
    given = pod(
        nodeSelector={},
        tolerations=[],
        securityContext={},
        hostname=None,
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    given["metadata"]["creationTimestamp"] = None
    given["metadata"]["annotations"] = {"note": None}
    kept = prune_unknown(pods(), given)
    assert kept["spec"] == {
        "containers": [container()],
        "securityContext": {},
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
    assert kept["metadata"] == {
        "name": "web",
        "namespace": "default",
        "annotations": {"note": ""},
    }


def test_times_are_kept_in_utc() -> None:
    given = pod()
    given["metadata"]["creationTimestamp"] = "2024-05-01T12:00:00+02:00"
    kept = prune_unknown(pods(), given)
    assert kept["metadata"]["creationTimestamp"] == "2024-05-01T10:00:00Z"


def test_required_fields_are_found_outside_the_status() -> None:
    given = pod(volumes=[{"secret": {}}])
    given["status"] = {"containerStatuses": [{"name": "web"}]}
    errors = validate(pods(), given, strict=False)
    assert [error.message() for error in errors] == ["spec.volumes[0].name: Required value"]


def test_strict_validation_lists_unknown_fields_too() -> None:
    given = pod(foo=1, readinessGates=[{}])
    assert {error.type for error in validate(pods(), given, strict=True)} == {REQUIRED, UNKNOWN}
    assert {error.type for error in validate(pods(), given, strict=False)} == {REQUIRED}


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (2, "2"),
        (0.1, "100m"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("1000", "1k"),
        ("128974848", "128974848"),
        ("1e3", "1e3"),
        ("0.0", "0"),
        ("100n", "100n"),
        ("-1500m", "-1500m"),
    ],
)
def test_quantities_take_their_canonical_form(given: Any, canonical: str) -> None:
    assert canonical_quantity(given) == canonical


@given(
    st.decimals(min_value=-(10**9), max_value=10**9, places=3),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]),
)
def test_canonical_quantity_means_the_same_and_is_stable(number: Decimal, suffix: str) -> None:
    text = f"{number:f}{suffix}"
    canonical = canonical_quantity(text)
    assert 0 <= parse_quantity(canonical) - parse_quantity(text) < Decimal("1e-9")
    assert canonical_quantity(canonical) == canonical


def scalars() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 2**33),
        st.sampled_from(["", "x", "10Mi", "100m", "AAA=", "2024-05-01T12:00:00Z", "5.0"]),
        st.just([]),
        st.just({}),
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_fast_way_never_waves_through_what_the_slow_reading_would_change(
    data: st.DataObject,
) -> None:
    """The compiled validator is at least as strict as the exact reading."""
    base = defaulted(pods(), pod(volumes=[{"name": "c", "configMap": {"name": "x"}}]))
    obj = copy.deepcopy(base)
    place: Any = obj
    for _ in range(data.draw(st.integers(1, 5))):
        steps = list(place.keys()) if isinstance(place, dict) else list(range(len(place)))
        step = data.draw(st.sampled_from(steps))
        if isinstance(place[step], dict | list) and place[step] and data.draw(st.booleans()):
            place = place[step]
        else:
            place[step] = data.draw(scalars())
            break
    if prune_unknown_quietly(obj) is not obj:
        return
    reading = Reading(schemas(), pods().schema_ref, obj)
    assert reading.value == obj
    assert not reading.unknown
    assert not reading.missing


def prune_unknown_quietly(obj: dict[str, Any]) -> Any:
    try:
        return prune_unknown(pods(), obj)
    except GoError:
        return None


def test_every_kind_has_a_validator() -> None:
    for each in kinds().resources():
        assert decode_error(each, {"metadata": {"name": "x"}}) == ""


def test_a_whole_number_written_as_a_fraction_is_no_integer() -> None:
    """Go's decoder refuses 3.0 for an int32; JSON Schema of today would take it."""
    found = decode_error(deployments(), deployment(replicas=3.0))
    assert found == (
        "json: cannot unmarshal number 3.0 into Go struct field "
        "DeploymentSpec.spec.replicas of type int32"
    )
    assert decode_error(pods(), pod(terminationGracePeriodSeconds=30.0)) != ""
    assert decode_error(deployments(), deployment(replicas=3)) == ""


def test_an_object_nested_too_deeply_is_told_not_crashed_upon() -> None:
    definitions = resource("customresourcedefinitions", "apiextensions.k8s.io")
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}
    version = {"name": "v1", "served": True, "storage": True, "bogus": 1}
    spec = {"group": "b", "versions": [{**version, "schema": {"openAPIV3Schema": schema}}]}
    obj = {"metadata": {"name": "a.b"}, "spec": spec}
    assert decode_error(definitions, obj) == "exceeded max depth"
