"""Nodes as API objects: what an Instance looks like to Kubernetes, and its signs of life.

``Heartbeats`` is called with each sign of life of an agent; it keeps in memory when it was
(ADR 9), and says what has to be written. The API renders what it knows into the Leases of
``kube-node-lease``, the node controller asks it who is silent. Rules: "Nodes" (heartbeats by
Lease), the kubelet's node status, and the labels of "Well-Known Labels, Annotations and Taints".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from proa.base.clock import Clock, iso8601, iso8601_micro
from proa.base.quantity import bytes_text, millicores_text
from proa.kube.api.call import SYSTEM, Call
from proa.kube.controllers.common import STRATEGIC, instant, patch
from proa.kube.keys import object_key
from proa.kube.objects import Condition, condition
from proa.kube.tables import LEASES, cluster_of, node_of
from proa.model.host import Host, Instance
from proa.reconcile.view import Entry, View

T = TypeVar("T")
LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40
STATUS_EVERY_S = 300.0  # an unchanged status is reported this often (nodeStatusReportFrequency),
STATUS_JITTER = 0.5  # earlier or later by this share, or all that joined at once do it at once
_ID_LENGTH = 19  # "i-" and 17 hexadecimal digits
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


@dataclass(slots=True, frozen=True)
class _Looked:
    """What a Node was found right for, and until when it need not be looked at again."""

    version: int
    instance: Instance
    host: Host
    kubernetes: str
    until: float


class Heartbeats:
    """When each node was last heard of, by the store key of its Lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[float, float]] = {}  # Lease → (wall, monotonic)
        self._looked: dict[str, _Looked] = {}  # Instance → what was seen

    def renewed_at(self, lease: str) -> float | None:
        """The wall time of the last sign of life; None where this process has heard none."""
        heard = self._heard.get(lease)
        return heard[0] if heard else None

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

    def silent_s(self, lease: str) -> float | None:
        """Seconds since the last sign of life; None where this process has heard none."""
        heard = self._heard.get(lease)
        return self._clock.monotonic() - heard[1] if heard else None

    def forget(self, lease: str, instance: str) -> None:
        """The node has been taken away."""
        self._heard.pop(lease, None)
        self._looked.pop(instance, None)

    def beat(self, view: View, instance: Instance, host: Host, version: str) -> list[Call]:
        """One sign of life, to be called every 10 s; returns the Calls it takes: the Node or its
        Lease where they are missing, its status where it has changed, was doubted, or is old.
        What is missing takes another call after these are done. ``version`` is the cluster's."""
        cluster, now = cluster_of(instance.cluster), self._clock.now()
        lease = lease_key(cluster, instance.name)
        entry = node_of(view, cluster, instance.name)
        if entry is None:
            body = node_object(instance, host, now, version)
            return [
                Call(cluster, "create", "", "nodes", "", instance.name, body=body, existing_ok=True)
            ]
        self._heard[lease] = (now, self._clock.monotonic())
        calls = []
        if view.rows(LEASES).get(lease) is None:
            calls.append(_first_lease(cluster, instance.name, entry.value.metadata.uid, now))
        looked = self._looked.get(instance.id)
        seen = (entry.version, instance, host, version)
        if looked is not None and now < looked.until:
            before = (looked.version, looked.instance, looked.host, looked.kubernetes)
            if before == seen:
                return calls
        known = entry.value.status.conditions
        wanted = node_status(instance, host, now, version, known)
        present = orjson.loads(entry.body).get("status") or {}
        ready = condition(known, "Ready")
        until = instant(ready.last_heartbeat_time) + _status_every_s(instance) if ready else 0.0
        if until <= now or _plain(present) != _plain(wanted):
            calls.append(patch(entry, {"status": wanted}, SYSTEM, "status", STRATEGIC))
        else:
            self._looked[instance.id] = _Looked(*seen, until)
        return calls


def lease_key(cluster: str, node: str) -> str:
    """Where a node's Lease lies."""
    return object_key(cluster, "coordination.k8s.io", "leases", LEASE_NAMESPACE, node)


def _status_every_s(instance: Instance) -> float:
    share = int(instance.id[-4:], 16) / 0x10000 if len(instance.id) == _ID_LENGTH else 0.5
    return STATUS_EVERY_S * (1 - STATUS_JITTER + 2 * STATUS_JITTER * share)


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
