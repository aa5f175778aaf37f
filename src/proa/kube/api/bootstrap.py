"""What every cluster starts with: namespaces, its own Services, priorities, roles.

``server.kube_bow`` stores each object that is missing at every start; ``roles.json`` holds
Kubernetes' default roles as far as this server's users need them.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from proa.kube.api.context import ClusterInfo

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_ROLES = Path(__file__).with_name("roles.json")
RBAC = "rbac.authorization.k8s.io/v1"


def objects(cluster: ClusterInfo, now: float) -> list[dict[str, Any]]:
    """In the order in which they must be stored."""
    del now  # the registry stamps what it creates
    return [
        *(_namespace(name) for name in NAMESPACES),
        *_services(cluster),
        *_priorities(),
        *_roles(),
    ]


def _namespace(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _services(cluster: ClusterInfo) -> list[dict[str, Any]]:
    base = IPv4Network(cluster.service_cidr).network_address
    port = int(cluster.address.rpartition(":")[2])
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": str(base + 1),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": str(base + 10),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                ],
            },
        },
    ]


def _priorities() -> list[dict[str, Any]]:
    values = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }
        for name, value in values.items()
    ]


def _roles() -> list[dict[str, Any]]:
    table = json.loads(_ROLES.read_text())
    made: list[dict[str, Any]] = []
    for name, role in table["roles"].items():
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **role.get("labels", {})},
        }
        body: dict[str, Any] = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata}
        if "aggregates" in role:
            selectors = [{"matchLabels": {label: "true"}} for label in role["aggregates"]]
            body |= {"aggregationRule": {"clusterRoleSelectors": selectors}, "rules": []}
        else:
            body["rules"] = role["rules"]
        made.append(body)
    for name, groups in table["bindings"].items():
        subjects = [
            {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": group}
            for group in groups
        ]
        reference = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": name,
        }
        made.append(
            {
                "apiVersion": RBAC,
                "kind": "ClusterRoleBinding",
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                },
                "roleRef": reference,
                "subjects": subjects,
            }
        )
    return made
