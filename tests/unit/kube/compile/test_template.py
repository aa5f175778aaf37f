"""Pods of one template are compiled from what one of them was; what differs between them stays."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from proa.kube.compile.pod import compile_pod
from proa.kube.compile.sources import Sources
from proa.kube.decoding import decoder
from proa.kube.objects import Pod, Service
from proa.model.sandbox import Container, Sandbox

NAME = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
NODE = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


def compiled(
    name: str, node: str, sources: Sources | None = None, spec: dict[str, Any] | None = None
) -> Sandbox:
    body = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid of {name}"},
        "spec": {"nodeName": node, **(spec or {"containers": [{"name": "main", "image": "a:1"}]})},
    }
    text, key = orjson.dumps(body), f"/kube/c/core/pods/default/{name}"
    return compile_pod(text, decoder(Pod)(text), key, node, sources or Sources())


def only(sandbox: Sandbox) -> Container:
    (found,) = sandbox.containers
    return found


def service(address: str) -> Service:
    spec = {"clusterIP": address, "ports": [{"port": 80}]}
    return msgspec.convert({"metadata": {"name": "db"}, "spec": spec}, Service)


def test_containers_of_one_template_are_compiled_once() -> None:
    one, other = compiled("a", "n1"), compiled("b", "n2")
    assert only(one) is only(other)
    assert (one.name, one.uid, one.instance) != (other.name, other.uid, other.instance)


def test_a_container_that_names_its_own_pod_is_compiled_for_each() -> None:
    spec = {"containers": [{"name": "main", "image": "a:1", "env": [NAME, NODE]}]}
    found = [dict(only(compiled(*of, spec=spec)).environment) for of in (("a", "n1"), ("b", "n2"))]
    assert found == [{"NAME": "a", "NODE": "n1"}, {"NAME": "b", "NODE": "n2"}]


def test_a_service_that_moves_is_seen_by_the_next_pod() -> None:
    found = [
        dict(only(compiled("a", "n1", Sources(services=[service(at)]))).environment)
        for at in ("10.0.0.1", "10.0.0.2")
    ]
    assert [one["DB_SERVICE_HOST"] for one in found] == ["10.0.0.1", "10.0.0.2"]


def test_a_missing_runtime_blocks_containers_that_are_known() -> None:
    assert not only(compiled("a", "n1")).blocked
    blocked = only(compiled("b", "n1", Sources(handlers=lambda _name: "gvisor"))).blocked
    assert 'no runtime for "gvisor"' in blocked
    assert not only(compiled("c", "n1")).blocked
