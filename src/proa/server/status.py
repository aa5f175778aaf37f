"""What ``proa status`` shows: hosts, instances, Sandboxes under both APIs, what waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from proa.aws.ecs.tables import TASKS
from proa.aws.eks.records import DEFAULT, cluster_of_uid
from proa.base.quantity import CPU_PER_VCPU, MIB
from proa.cloud import compute
from proa.kube.tables import PODS, cluster_of
from proa.server.core import Core

if TYPE_CHECKING:
    from proa.server.assemble import ControlPlane


class StatusReport:
    """Reads the view and the fleet."""

    def __init__(self, core: Core, plane: ControlPlane) -> None:
        self._core, self._plane = core, plane

    def report(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        view, runner = self._core.view, self._plane.runner
        return {
            "version": view.version,
            "hosts": [self._host(entry.value) for entry in view.rows(compute.HOSTS).scan()],
            "instances": [
                {
                    "id": entry.value.id,
                    "name": entry.value.name,
                    "purchase": "shared" if entry.value.shared else entry.value.purchase,
                    "cluster": entry.value.cluster,
                    "zone": entry.value.zone,
                    "host": entry.value.host,
                }
                for entry in view.rows(compute.INSTANCES).scan()
            ],
            "sandboxes": self.sandboxes(),
            "waiting": self._plane.scheduler.waiting,
            "bound": self._plane.scheduler.bound,
            "inert": self._plane.kube.inert(),
            "crashes": list(runner.crashes) if runner else [],
        }

    def sandboxes(self) -> list[dict[str, Any]]:
        """Every task that has not stopped and every pod."""
        return [*self._tasks(), *self._pods()]

    def _host(self, host: Any) -> dict[str, Any]:
        used = self._plane.scheduler.fleet.pool_used.get(host.id, [0, 0])
        amounts = (int(used[0]), host.pool.cpu, host.physical.cpu)
        memory = (int(used[1]), host.pool.memory, host.physical.memory)
        return {
            "id": host.id,
            "hostname": host.hostname,
            "ready": self._plane.hosts.ready(host.id),
            "cpu": [round(amount / CPU_PER_VCPU, 3) for amount in amounts],
            "memory_mib": [amount // MIB for amount in memory],
        }

    def _tasks(self) -> Iterator[dict[str, Any]]:
        for entry in self._core.view.rows(TASKS).scan():
            task = entry.value
            if task.last_status == "STOPPED":
                continue
            yield {
                "api": "ecs",
                "where": f"{task.region}/{task.cluster}",
                "name": task.id,
                "owner": task.group,
                "status": task.last_status,
                "address": task.address,
                "instance": task.instance,
            }

    def _pods(self) -> Iterator[dict[str, Any]]:
        for entry in self._core.view.rows(PODS).scan():
            pod = entry.value
            owner = pod.metadata.controller
            yield {
                "api": "kubernetes",
                "where": self._where(entry.key, pod.metadata.namespace),
                "name": pod.metadata.name,
                "owner": f"{owner.kind}/{owner.name}" if owner else "",
                "status": "Terminating" if pod.metadata.deleting else pod.status.phase,
                "address": pod.status.pod_ip,
                "instance": pod.spec.node_name,
            }

    def _where(self, key: str, namespace: str) -> str:
        """A pod's namespace; in another cluster than the first, after the cluster's name."""
        uid = cluster_of(key)
        cluster = cluster_of_uid(self._core.view, uid) if uid != DEFAULT else None
        return f"{cluster.name}/{namespace}" if cluster is not None else namespace
