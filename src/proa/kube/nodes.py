"""Nodes as API objects: what an Instance looks like to Kubernetes, and its signs of life.

``Heartbeats`` is called with each sign of life of an agent; it keeps in memory when it was
(ADR 11), and says what has to be written. The API renders what it knows into the Leases of
``kube-node-lease``, the node controller asks it who is silent. Rules: "Nodes" (heartbeats by
Lease), the kubelet's node status, and the labels of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from msgspec.structs import replace

from proa.base.clock import Clock, iso8601, iso8601_micro
from proa.base.quantity import bytes_text, millicores_text
from proa.kube.api.call import SYSTEM, Call
from proa.kube.controllers.common import STRATEGIC, patch
from proa.kube.keys import object_key, parse_key
from proa.kube.objects import Condition, condition
from proa.kube.tables import LEASES, cluster_of, node_of
from proa.model.host import Host, Instance
from proa.reconcile.view import Entry, View

T = TypeVar("T")
LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40
_HEARTBEAT = re.compile(rb'"lastHeartbeatTime":"[^"]*"')
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
    spec: dict[str, Any] = {"providerID": f"aws:///{instance.zone}/{instance.id}"}
    if host.taints:
        spec["taints"] = [
            {"key": key, **({"value": value} if value else {}), "effect": effect}
            for key, value, effect in host.taints
        ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": instance.name, "labels": {**labels, **dict(host.labels)}},
        "spec": spec,
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


class Heartbeats:
    """When each node was last heard of. ``seen`` is when each Host was, monotonic, by its id;
    whoever hears of many Hosts at once writes it directly (``server.hosts``)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seen: dict[str, float] = {}
        self._hosts: dict[str, str] = {}  # Lease → Host
        self._looked: dict[str, tuple[int, Instance, Host, str]] = {}  # Instance → what was right

    def renewed_at(self, lease: str) -> float | None:
        """The wall time of the last sign of life; None where this process has heard none."""
        silent_s = self.silent_s(lease)
        return None if silent_s is None else self._clock.now() - silent_s

    def rendered(self, lease: Entry[T]) -> Entry[T]:
        """A Lease as it is shown: renewed when its node was last heard of, unless it says itself
        that it was later."""
        at = self.renewed_at(lease.key)
        if at is None:
            return lease
        body = orjson.loads(lease.body)
        spec = body.setdefault("spec", {})
        spec["renewTime"] = max(spec.get("renewTime") or "", iso8601_micro(at))
        return replace(lease, body=orjson.dumps(body))

    def rendered_node(self, node: Entry[T]) -> Entry[T]:
        """A Node as it is shown: its conditions were confirmed when it was last heard of, unless
        they are in doubt. So an unchanged status need not be written every five minutes."""
        key = parse_key(node.key)
        at = self.renewed_at(lease_key(key.cluster, key.name))
        if at is None or b'"Unknown"' in node.body:
            return node
        text = b'"lastHeartbeatTime":"%b"' % iso8601(at).encode()
        return replace(node, body=_HEARTBEAT.sub(text, node.body))

    def silent_s(self, lease: str) -> float | None:
        """Seconds since the last sign of life; None where this process has heard none."""
        seen = self.seen.get(self._hosts.get(lease, ""))
        return None if seen is None else self._clock.monotonic() - seen

    def silent(self, longer_s: float) -> list[str]:
        """The Leases of nodes that were heard of once, and not for so long."""
        before = self._clock.monotonic() - longer_s
        if not self.seen or min(self.seen.values()) > before:
            return []
        return [lease for lease, host in self._hosts.items() if self.seen.get(host, 0.0) <= before]

    def forget(self, lease: str, instance: str) -> None:
        """The node has been taken away."""
        self._hosts.pop(lease, None)
        self._looked.pop(instance, None)

    def beat(self, view: View, instance: Instance, host: Host, version: str) -> list[Call]:
        """One sign of life; returns the Calls it takes: the Node or its Lease where they are
        missing, its status where it has changed or was doubted. What is missing takes another call
        after these are done. ``version`` is the cluster's."""
        cluster, now = cluster_of(instance.cluster), self._clock.now()
        lease = lease_key(cluster, instance.name)
        entry = node_of(view, cluster, instance.name)
        if entry is None:
            body = node_object(instance, host, now, version)
            return [
                Call(cluster, "create", "", "nodes", "", instance.name, body=body, existing_ok=True)
            ]
        self.seen[host.id] = self._clock.monotonic()
        self._hosts[lease] = host.id
        calls = []
        if view.rows(LEASES).get(lease) is None:
            calls.append(_first_lease(cluster, instance.name, entry.value.metadata.uid, now))
        seen = (entry.version, instance, host, version)
        if self._looked.get(instance.id) == seen:
            return calls
        known = entry.value.status.conditions
        wanted = node_status(instance, host, now, version, known)
        present = orjson.loads(entry.body).get("status") or {}
        if _plain(present) != _plain(wanted):
            calls.append(patch(entry, {"status": wanted}, SYSTEM, "status", STRATEGIC))
        else:
            self._looked[instance.id] = seen
        return calls


def lease_key(cluster: str, node: str) -> str:
    """Where a node's Lease lies."""
    return object_key(cluster, "coordination.k8s.io", "leases", LEASE_NAMESPACE, node)


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


def _first_lease(cluster: str, name: str, node_uid: str, now: float) -> Call:
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_S,
            "renewTime": iso8601_micro(now),
        },
    }
    group = "coordination.k8s.io"
    return Call(
        cluster, "create", group, "leases", LEASE_NAMESPACE, name, body=body, existing_ok=True
    )
