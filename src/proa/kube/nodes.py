"""Nodes as API objects: what an Instance looks like to Kubernetes, and its heartbeats.

Called by whoever hears from agents. Rules: "Nodes" (heartbeats by Lease), the kubelet's node
status, and the labels of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.clock import iso8601, iso8601_micro
from proa.base.quantity import bytes_text, millicores_text
from proa.kube.api.call import SYSTEM, Call
from proa.kube.controllers.common import STRATEGIC, instant, patch
from proa.kube.keys import object_key
from proa.kube.objects import Condition, condition
from proa.kube.tables import LEASES, cluster_of, node_of
from proa.model.host import Host, Instance
from proa.reconcile.view import View

LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40
STATUS_EVERY_S = 300.0  # an unchanged status is reported this often (nodeStatusReportFrequency)
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory",
     "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)  # fmt: skip


def node_object(instance: Instance, host: Host, now: float, version: str) -> dict[str, Any]:
    """The Node of an Instance; ``version`` is the cluster's ("1.36.2")."""
    architecture = host.architecture or "amd64"
    labels = {
        "kubernetes.io/hostname": instance.name,
        "kubernetes.io/arch": architecture,
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance.type,
        "topology.kubernetes.io/zone": instance.zone,
        "topology.kubernetes.io/region": instance.zone[:-1],
        "eks.amazonaws.com/capacityType": "SPOT" if instance.purchase == "spot" else "ON_DEMAND",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": instance.name, "labels": labels},
        "spec": {"providerID": f"aws:///{instance.zone}/{instance.id}"},
        "status": node_status(instance, host, now, version, ()),
    }


def node_status(
    instance: Instance, host: Host, now: float, version: str, known: tuple[Condition, ...]
) -> dict[str, Any]:
    """What a healthy node reports; a condition keeps its last transition while it holds."""
    amounts = {
        "cpu": millicores_text(instance.capacity.cpu),
        "memory": bytes_text(instance.capacity.memory),
        "ephemeral-storage": bytes_text(instance.capacity.disk),
        "pods": str(instance.capacity.sandboxes),
    }
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [_condition(known, *item, now) for item in _CONDITIONS],
        "addresses": [
            {"type": "InternalIP", "address": instance.address},
            {"type": "InternalDNS", "address": instance.name},
            {"type": "Hostname", "address": instance.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": host.machine_id,
            "systemUUID": host.machine_id,
            "bootID": host.boot_id,
            "kernelVersion": host.kernel,
            "osImage": host.os_image,
            "containerRuntimeVersion": host.runtime_version,
            "kubeletVersion": f"v{version}",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": host.architecture or "amd64",
        },
    }


def _condition(
    known: tuple[Condition, ...], type: str, value: str, reason: str, message: str, now: float
) -> dict[str, Any]:
    old = condition(known, type)
    same = old is not None and old.status == value
    return {
        "type": type,
        "status": value,
        "lastHeartbeatTime": iso8601(now),
        "lastTransitionTime": old.last_transition_time if same and old else iso8601(now),
        "reason": reason,
        "message": message,
    }


def heartbeat(view: View, instance: Instance, host: Host, now: float, version: str) -> list[Call]:
    """The Calls of one sign of life: the Node where it is not there yet, its Lease renewed, its
    status where it has changed, was doubted, or is old. To be called every 10 s."""
    cluster = cluster_of(instance.cluster)
    entry = node_of(view, cluster, instance.name)
    if entry is None:
        body = node_object(instance, host, now, version)
        node = Call(cluster, "create", "", "nodes", "", instance.name, body=body, existing_ok=True)
        status = {"status": body["status"]}  # a create says nothing of it
        return [
            node,
            Call(cluster, "patch", "", "nodes", "", instance.name, "status", body=status),
        ]
    calls = [_lease(view, cluster, instance.name, entry.value.metadata.uid, now)]
    known = entry.value.status.conditions
    wanted = node_status(instance, host, now, version, known)
    present = orjson.loads(entry.body).get("status") or {}
    ready = condition(known, "Ready")
    old = ready is None or instant(ready.last_heartbeat_time) + STATUS_EVERY_S <= now
    if old or _plain(present) != _plain(wanted):
        calls.append(patch(entry, {"status": wanted}, SYSTEM, "status", STRATEGIC))
    return calls


def _plain(status: dict[str, Any]) -> dict[str, Any]:
    """A status without its heartbeats, to see whether anything has changed."""
    own = {type for type, *_ in _CONDITIONS}
    conditions = {
        item["type"]: item["status"]
        for item in status.get("conditions") or ()
        if item["type"] in own
    }
    parts = ("capacity", "allocatable", "addresses", "nodeInfo")
    return {**{part: status.get(part) for part in parts}, "conditions": conditions}


def _lease(view: View, cluster: str, name: str, node_uid: str, now: float) -> Call:
    key = object_key(cluster, "coordination.k8s.io", "leases", LEASE_NAMESPACE, name)
    group, spec = "coordination.k8s.io", {"renewTime": iso8601_micro(now)}
    if view.rows(LEASES).get(key) is not None:
        return Call(cluster, "patch", group, "leases", LEASE_NAMESPACE, name, body={"spec": spec})
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, **spec},
    }
    return Call(
        cluster, "create", group, "leases", LEASE_NAMESPACE, name, body=body, existing_ok=True
    )
