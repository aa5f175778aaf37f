"""What users and operators do to what runs: they delete pods, stop tasks, drain machines.

Part of ``faults``, which see. No budget of a workload's is Proa's to keep against them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from proa.aws.ecs.names import container_instance_id
from proa.aws.ecs.tables import TASKS
from proa.base.chance import Chance
from proa.cloud import compute
from proa.kube.tables import PODS
from proa.model.host import Instance
from proa.sim.clients import Clients, Json, Refused
from proa.sim.world import World

MERGE = "application/merge-patch+json"


def instances_on(world: World, host: str, prefix: str) -> list[Instance]:
    """The shared Instances of a Host in the clusters of one bow."""
    found = compute.instances_on(world.view, host)
    return [item for item in found if item.cluster.startswith(prefix) and item.shared]


class Operator:
    """Says to both APIs what an operator says of a machine."""

    def __init__(self, world: World, clients: Clients) -> None:
        self._world, self._clients = world, clients

    async def kube(self, method: str, path: str, body: Json | None = None) -> None:
        """A request that may come too late."""
        with contextlib.suppress(Refused):
            await self._clients.kube(method, path, body, MERGE if method == "PATCH" else "")
        self._clients.forget(path)

    async def ecs(self, operation: str, given: Json) -> None:
        """A request that may come too late."""
        with contextlib.suppress(Refused):
            await self._clients.ecs(operation, given)

    async def drain(self, host: str, draining: bool = True) -> None:
        """Nothing more is placed there, or is again; ECS moves its services' tasks."""
        for instance in instances_on(self._world, host, "/kube/"):
            body: Json = {"spec": {"unschedulable": draining or None}}
            await self.kube("PATCH", f"/api/v1/nodes/{instance.name}", body)
        ids = [container_instance_id(item.id) for item in instances_on(self._world, host, "/aws/")]
        if ids:
            status = "DRAINING" if draining else "ACTIVE"
            given: Json = {"containerInstances": ids, "status": status}
            await self.ecs("UpdateContainerInstancesState", given)


class UserFaults:
    """``clients`` is the user's."""

    def __init__(self, world: World, clients: Clients, chance: Chance) -> None:
        self._world, self._chance = world, chance
        self._operator = Operator(world, clients)

    def known(self) -> dict[str, Callable[..., Awaitable[None]]]:
        """Every fault by its name."""
        own: tuple[Callable[..., Awaitable[None]], ...] = (
            self.delete_pod,
            self.stop_task,
            self.drain_host,
        )
        return {fault.__name__: fault for fault in own}

    async def delete_pod(self, grace_s: int, evict: bool = False) -> None:
        """A user deletes or evicts a pod of some workload."""
        rows = [row for row in self._world.view.rows(PODS).scan() if row.value.metadata.controller]
        if not rows:
            return
        pod = self._chance.choice(rows)
        self._world.laws.budgets.excused.add(pod.key)
        meta = pod.value.metadata
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}"
        options: Json = {"gracePeriodSeconds": grace_s, "preconditions": {"uid": meta.uid}}
        if not evict:
            await self._operator.kube("DELETE", path, options)
            return
        body: Json = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta.name, "namespace": meta.namespace},
            "deleteOptions": options,
        }
        await self._operator.kube("POST", f"{path}/eviction", body)

    async def stop_task(self) -> None:
        """A user stops a task."""
        rows = [
            row for row in self._world.view.rows(TASKS).scan()
            if row.value.desired_status == "RUNNING"
        ]  # fmt: skip
        if rows:
            task = self._chance.choice(rows).value
            await self._operator.ecs("StopTask", {"task": task.arn, "reason": "by hand"})

    async def drain_host(self, host: str, for_s: float) -> None:
        """A machine is drained for a while."""
        await self._operator.drain(host)
        await self._world.clock.sleep(for_s)
        await self._operator.drain(host, draining=False)
