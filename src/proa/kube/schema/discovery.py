"""Discovery documents: which groups, versions and resources are served.

The API's handlers call these with the cluster's ``Kinds`` and serve what comes back; kubectl and
client-go ask for the aggregated form (KEP-3352) and fall back to the lists, Helm uses the lists.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.kube.schema.kinds import Kinds, Resource

READ_WRITE = ("get", "patch", "update")
PROXY = ("create", "delete", "get", "patch", "update")
# What subresources answer with and allow, where it is not the resource's own kind and READ_WRITE:
# (group, version, kind, verbs); a group of "-" means the resource's own.
SUBRESOURCES: dict[tuple[str, str], tuple[str, str, str, tuple[str, ...]]] = {
    ("pods", "attach"): ("-", "v1", "PodAttachOptions", ("create", "get")),
    ("pods", "binding"): ("-", "v1", "Binding", ("create",)),
    ("pods", "eviction"): ("policy", "v1", "Eviction", ("create",)),
    ("pods", "exec"): ("-", "v1", "PodExecOptions", ("create", "get")),
    ("pods", "log"): ("-", "v1", "Pod", ("get",)),
    ("pods", "portforward"): ("-", "v1", "PodPortForwardOptions", ("create", "get")),
    ("pods", "proxy"): ("-", "v1", "PodProxyOptions", PROXY),
    ("services", "proxy"): ("-", "v1", "ServiceProxyOptions", PROXY),
    ("nodes", "proxy"): ("-", "v1", "NodeProxyOptions", PROXY),
    ("namespaces", "finalize"): ("-", "v1", "Namespace", ("update",)),
    ("serviceaccounts", "token"): ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
}
_SCALE = ("autoscaling", "v1", "Scale", READ_WRITE)
_AGGREGATED = ("v2", "v2beta1")


def aggregated_type(accept: str) -> str:
    """The content type of the aggregated document that ``accept`` asks for first, or ""."""
    for part in accept.split(","):
        parameters = dict(
            item.strip().partition("=")[::2] for item in part.split(";")[1:] if "=" in item
        )
        if parameters.get("as") != "APIGroupDiscoveryList":
            if part.split(";")[0].strip() == "application/json":
                return ""
            continue
        version = parameters.get("v", "")
        if version in _AGGREGATED and part.split(";")[0].strip() == "application/json":
            return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    return ""


def aggregated(kinds: Kinds, accept: str, core: bool = False) -> bytes:
    """An APIGroupDiscoveryList for /api (``core``) or /apis, in the version ``accept`` names."""
    version = "v2beta1" if "v=v2beta1" in aggregated_type(accept) else "v2"
    groups = [group for group in kinds.groups() if (group == "") == core]
    return orjson.dumps(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": [_group_discovery(kinds, group) for group in groups],
        }
    )


def _group_discovery(kinds: Kinds, group: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"creationTimestamp": None}
    if group:
        metadata["name"] = group
    return {
        "metadata": metadata,
        "versions": [
            {
                "version": version,
                "resources": [_discovered(resource) for resource in kinds.of(group, version)],
                "freshness": "Current",
            }
            for version in kinds.versions(group)
        ],
    }


def _discovered(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.name,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": _kind(*gvk), "verbs": list(verbs)}
            for name in resource.subresources
            for *gvk, verbs in (subresource_kind(resource, name),)
        ]
    return entry


def _kind(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


def subresource_kind(resource: Resource, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    """(group, version, kind, verbs) of a subresource."""
    if name == "scale":
        return _SCALE
    group, version, kind, verbs = SUBRESOURCES.get(
        (resource.name, name), ("-", resource.version, resource.kind, READ_WRITE)
    )
    return (resource.group if group == "-" else group, version, kind, verbs)


def api_versions(address: str = "") -> dict[str, Any]:
    """/api; ``address`` is the server's own host:port."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def api_groups(kinds: Kinds) -> dict[str, Any]:
    """/apis."""
    groups = [_group(kinds, group) for group in kinds.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(kinds: Kinds, group: str) -> dict[str, Any] | None:
    """/apis/<group>, or None if nothing is served there."""
    if not group or not kinds.versions(group):
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, group)}


def _group(kinds: Kinds, group: str) -> dict[str, Any]:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for version in kinds.versions(group)
    ]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def resource_list(kinds: Kinds, group: str, version: str) -> dict[str, Any] | None:
    """/api/v1 or /apis/<group>/<version>, or None if nothing is served there."""
    resources = kinds.of(group, version)
    if not resources:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": resources[0].api_version,
        "resources": [row for resource in resources for row in _rows(resource)],
    }


def _rows(resource: Resource) -> list[dict[str, Any]]:
    row: dict[str, Any] = {
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    return [row, *(_subresource_row(resource, name) for name in resource.subresources)]


def _subresource_row(resource: Resource, name: str) -> dict[str, Any]:
    group, version, kind, verbs = subresource_kind(resource, name)
    row: dict[str, Any] = {
        "name": f"{resource.name}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": list(verbs),
    }
    if (group, version) != (resource.group, resource.version):
        row |= {"group": group, "version": version}
    return row
