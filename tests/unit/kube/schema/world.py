"""The kinds of Kubernetes 1.36, opened once, and small objects to try things on."""

from __future__ import annotations

from functools import cache
from typing import Any

from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.defaults import apply_defaults
from proa.kube.schema.kinds import Kinds, Resource, load_kinds

JSON = dict[str, Any]


@cache
def schemas() -> SchemaCache:
    return SchemaCache.open(None)


@cache
def kinds() -> Kinds:
    return load_kinds(schemas())


def resource(name: str, group: str = "", version: str = "v1") -> Resource:
    found = kinds().find(group, version, name)
    assert found is not None
    return found


def deployments() -> Resource:
    return resource("deployments", "apps")


def pods() -> Resource:
    return resource("pods")


def container(**more: Any) -> JSON:
    return {"name": "web", "image": "nginx:1", **more}


def pod(**spec: Any) -> JSON:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [container()], **spec},
    }


def deployment(**spec: Any) -> JSON:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container()]},
            },
            **spec,
        },
    }


def defaulted(of: Resource, obj: JSON) -> JSON:
    apply_defaults(of, obj)
    return obj
