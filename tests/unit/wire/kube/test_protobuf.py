"""Kubernetes' protobuf bodies: what an encoder writes is read back as the same JSON."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.wire.kube.protobuf import INT_OR_STRING, META, QUANTITY, decode, is_protobuf

TABLE = json.loads(files("proa.wire.kube").joinpath("fields.json").read_bytes())
INTS = ("int32", "int64", "bool")


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, kind: str, value: Any, package: str) -> bytes:
    if kind in INTS:
        return varint(number << 3) + varint(int(value))
    if kind == "double":
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if kind == "string":
        body = value.encode()
    elif kind == "bytes":
        body = base64.b64decode(value)
    else:
        body = message(kind[1:] if kind.startswith(".") else f"{package}.{kind}", value)
    return varint(number << 3 | 2) + varint(len(body)) + body


def message(name: str, value: Any) -> bytes:
    if name == QUANTITY:
        return field(1, "string", value, "")
    if name == INT_OR_STRING:
        if isinstance(value, int):
            return field(1, "int64", 0, "") + field(2, "int32", value, "")
        return field(1, "int64", 1, "") + field(3, "string", value, "")
    if name == f"{META}.Time":
        return field(1, "int64", value, "")
    if name in (f"{META}.FieldsV1", "k8s.io.apimachinery.pkg.runtime.RawExtension"):
        return field(1, "bytes", base64.b64encode(json.dumps(value).encode()), "")
    package, _, short = name.rpartition(".")
    out = b""
    for key, (number, kind, *_) in TABLE[package][short].items():
        if kind.startswith("inline "):
            out += field(number, kind.removeprefix("inline "), value, package)
        elif key not in value:
            continue
        elif kind.startswith("repeated "):
            for item in value[key]:
                out += field(number, kind.removeprefix("repeated "), item, package)
        elif kind.startswith("map<"):
            of = kind[len("map<string,") : -1]
            for name_, item in value[key].items():
                body = field(1, "string", name_, "") + field(2, of, item, package)
                out += varint(number << 3 | 2) + varint(len(body)) + body
        else:
            out += field(number, kind, value[key], package)
    return out


def framed(api_version: str, kind: str, body: bytes, content_type: str = "") -> bytes:
    meta = field(1, "string", api_version, "") + field(2, "string", kind, "")
    out = varint(1 << 3 | 2) + varint(len(meta)) + meta
    out += varint(2 << 3 | 2) + varint(len(body)) + body
    if content_type:
        out += field(4, "string", content_type, "")
    return b"k8s\x00" + out


POD = {
    "metadata": {
        "name": "web",
        "namespace": "default",
        "labels": {"app": "web", "empty": ""},
        "deletionGracePeriodSeconds": 0,
    },
    "spec": {
        "volumes": [
            {"name": "config", "configMap": {"name": "settings", "defaultMode": 420}},
            {"name": "scratch", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": "web",
                "image": "nginx:1",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [
                    {
                        "name": "KEY",
                        "valueFrom": {"secretKeyRef": {"name": "vault", "key": "k"}},
                    }
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
            }
        ],
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
    },
    "status": {},
}


def test_pod_is_read_back_with_inlined_structs_and_zeros_that_say_something() -> None:
    body = framed("v1", "Pod", message("k8s.io.api.core.v1.Pod", POD))
    assert decode(body) == {"apiVersion": "v1", "kind": "Pod", **POD}


def test_zero_of_a_plain_field_is_left_out_as_in_json() -> None:
    deployment = {"metadata": {"name": ""}, "spec": {"replicas": 0, "minReadySeconds": 0}}
    body = framed("apps/v1", "Deployment", message("k8s.io.api.apps.v1.Deployment", deployment))
    assert decode(body)["spec"] == {"replicas": 0}
    assert decode(body)["metadata"] == {}


def test_integer_zero_of_int_or_string_stays() -> None:
    spec = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}}
    body = framed("apps/v1", "Deployment", message("k8s.io.api.apps.v1.Deployment", {"spec": spec}))
    assert decode(body)["spec"] == spec


def test_times_are_written_in_utc_and_the_empty_time_is_absent() -> None:
    meta = field(8, f".{META}.Time", 1_700_000_000, "") + varint(9 << 3 | 2) + varint(0)
    pod = varint(1 << 3 | 2) + varint(len(meta)) + meta
    body = framed("v1", "Pod", pod)
    assert decode(body)["metadata"] == {"creationTimestamp": "2023-11-14T22:13:20Z"}


def test_secret_data_is_base64_and_raw_extension_is_json() -> None:
    secret = {"data": {"key": "AAH/"}, "type": "Opaque"}
    body = framed("v1", "Secret", message("k8s.io.api.core.v1.Secret", secret))
    assert decode(body) == {"apiVersion": "v1", "kind": "Secret", **secret}
    revision = {"data": {"spec": {"a": [1, None]}}, "revision": 3}
    body = framed("apps/v1", "ControllerRevision", message(
        "k8s.io.api.apps.v1.ControllerRevision", revision))  # fmt: skip
    assert decode(body)["data"] == revision["data"]


def test_delete_options_are_known_in_every_group() -> None:
    options = {"gracePeriodSeconds": 0, "propagationPolicy": "Orphan"}
    for api_version in ("v1", "apps/v1", "meta.k8s.io/v1"):
        body = framed(api_version, "DeleteOptions", message(f"{META}.DeleteOptions", options))
        assert decode(body)["gracePeriodSeconds"] == 0


def test_json_inside_the_frame_is_read_as_json() -> None:
    assert decode(framed("v1", "Pod", b'{"kind":"Pod"}', "application/json")) == {"kind": "Pod"}


def test_negative_numbers_survive() -> None:
    toleration = {"spec": {"priority": -5, "tolerations": [{"tolerationSeconds": -1}]}}
    body = framed("v1", "Pod", message("k8s.io.api.core.v1.Pod", toleration))
    assert decode(body)["spec"] == toleration["spec"]


def test_schemas_of_custom_resources_keep_their_odd_names_and_unions() -> None:
    name = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    inner = field(4, "string", "text", "")
    either = varint(2 << 3 | 2) + varint(len(inner)) + inner
    schema = field(38, "bool", True, "") + varint(30 << 3 | 2) + varint(len(either)) + either
    version = varint(4 << 3 | 2)
    validation = varint(1 << 3 | 2) + varint(len(schema)) + schema
    crd_version = version + varint(len(validation)) + validation
    spec = varint(7 << 3 | 2) + varint(len(crd_version)) + crd_version
    body = varint(2 << 3 | 2) + varint(len(spec)) + spec
    assert TABLE[name.rpartition(".")[0]]["CustomResourceDefinitionSpec"]["versions"][0] == 7
    read = decode(framed("apiextensions.k8s.io/v1", "CustomResourceDefinition", body))
    assert read["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == {
        "x-kubernetes-preserve-unknown-fields": True,
        "additionalProperties": {"description": "text"},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\x00",
        b"k8s\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        framed("v1", "Nothing", b""),
        framed("v1", "Pod", b"\x0a\xff\x01"),
        framed("v1", "Pod", b"\x0b\x0c"),
        framed("v1", "Pod", b"\x00\x00"),
        framed("v1", "Pod", b"\x08\x01"),
        framed("v1", "Secret", b"\x1a\x02\xff\xfe"),
        framed("v1", "Pod", b"[]", "application/json"),
    ],
)
def test_malformed_body_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode(body)


def test_body_nested_without_end_is_refused() -> None:
    body = b""
    for _ in range(3000):
        body = varint(28 << 3 | 2) + varint(len(body)) + body
    for number in (1, 4, 7, 2):
        body = varint(number << 3 | 2) + varint(len(body)) + body
    with pytest.raises(ValueError, match="nested too deeply"):
        decode(framed("apiextensions.k8s.io/v1", "CustomResourceDefinition", body))


def test_frame_is_recognised() -> None:
    assert is_protobuf(framed("v1", "Pod", b""))
    assert not is_protobuf(b'{"kind":"Pod"}')


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(framed("v1", "Pod", body)), dict)


SPECIAL = (QUANTITY, INT_OR_STRING, f"{META}.Time")


def values(kind: str, package: str, depth: int) -> st.SearchStrategy[Any]:
    """JSON values of one type of the table that are no zeros."""
    if kind == "string":
        return st.text(min_size=1, max_size=5)
    if kind == "bytes":
        return st.binary(min_size=1, max_size=5).map(lambda raw: base64.b64encode(raw).decode())
    if kind == "bool":
        return st.just(True)
    if kind in ("int32", "int64"):
        bits = int(kind[3:]) - 1
        return st.integers(-(2**bits), 2**bits - 1).filter(bool)
    if kind == "double":
        return st.floats(0.5, 1e9)
    full = kind[1:] if kind.startswith(".") else f"{package}.{kind}"
    if full == QUANTITY:
        return st.sampled_from(["1", "100m", "3Gi"])
    if full == INT_OR_STRING:
        return st.one_of(st.integers(-5, 5), st.text(max_size=4))
    return messages(full, depth - 1)


def messages(name: str, depth: int) -> st.SearchStrategy[Any]:
    package, _, short = name.rpartition(".")
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for key, (_, kind, *_) in TABLE[package][short].items() if depth > 0 else ():
        if kind.startswith("inline ") or f"{META}." in kind or "RawExtension" in kind:
            continue
        if kind.startswith("repeated "):
            of = values(kind.removeprefix("repeated "), package, depth)
            fields[key] = st.lists(of, min_size=1, max_size=2)
        elif kind.startswith("map<"):
            of = values(kind[len("map<string,") : -1], package, depth)
            fields[key] = st.dictionaries(st.text(max_size=3), of, min_size=1, max_size=2)
        else:
            fields[key] = values(kind, package, depth)
    return st.fixed_dictionaries({}, optional=fields)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_an_encoder_writes_is_read_back(data: st.DataObject) -> None:
    package, kind = data.draw(
        st.sampled_from([("core", "Pod"), ("core", "Service"), ("batch", "Job"), ("core", "Node")])
    )
    name = f"k8s.io.api.{package}.v1.{kind}"
    value = data.draw(messages(name, 4))
    api_version = "v1" if package == "core" else f"{package}/v1"
    read = decode(framed(api_version, kind, message(name, value)))
    expected = {"apiVersion": api_version, "kind": kind, **value}
    assert read == expected
