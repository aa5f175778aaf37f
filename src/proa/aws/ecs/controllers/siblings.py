"""New tasks of a service's primary deployment, one after another within one transaction.

Used by the service controller. Each task sees those planned before it: the next subnet, capacity
provider and address are chosen with them in mind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from proa.aws.ecs import capacity, launch, writes
from proa.aws.ecs.keys import cluster_key, task_definition_key
from proa.aws.ecs.names import new_task_id
from proa.aws.ecs.ports import LogGroups, NoAddress, Subnet, Vpc
from proa.aws.ecs.records import COUNTED, Service, Tags, Task, TaskDefinition
from proa.aws.ecs.tables import TASK_DEFINITIONS, is_container_instance
from proa.base.chance import Chance
from proa.cloud import compute
from proa.dispatch.skin import Parts
from proa.reconcile.view import View


class InstanceZones:
    """Where clusters have container instances; looked up again once any Instance has changed."""

    def __init__(self) -> None:
        self._edition = -1
        self._found: dict[str, list[str]] = {}

    def of(self, view: View, cluster: str) -> list[str]:
        """The zones of a cluster's container instances, sorted."""
        rows = view.rows(compute.INSTANCES)
        if rows.edition != self._edition:
            self._edition = rows.edition
            self._found.clear()
        found = self._found.get(cluster)
        if found is None:
            instances = [item.value for item in rows.by("cluster", cluster)]
            zones = {item.zone for item in instances if is_container_instance(item, cluster)}
            found = self._found[cluster] = sorted(zones)
        return found


class Siblings:
    """Makes tasks of one deployment of one service."""

    def __init__(
        self,
        view: View,
        service: Service,
        tasks: Sequence[Task],
        vpc: Vpc,
        logs: LogGroups,
        chance: Chance,
        zones_of: Callable[[str], list[str]],
    ) -> None:
        """``zones_of`` is where a cluster has container instances."""
        self._zones_of = zones_of
        self._view, self._service, self._vpc, self._chance = view, service, vpc, chance
        self._deployment = service.primary
        self._definition = self._find_definition()
        self._prepared = launch.is_prepared(service.account, self._definition, logs)
        self._subnets = self._find_subnets()
        self._taken: set[str] = set()
        self._zones: Counter[str] = Counter()
        self._providers: Counter[str] = Counter()
        if self._deployment.network is not None or self._deployment.strategy:
            self._count([task for task in tasks if task.last_status in COUNTED])

    def _count(self, live: Sequence[Task]) -> None:
        """Where the tasks are that the next are to be spread beside."""
        self._zones.update(task.zone for task in live if task.zone)
        self._providers.update(
            task.capacity_provider for task in live if task.deployment == self._deployment.id
        )

    def _find_definition(self) -> TaskDefinition:
        service, deployment = self._service, self._deployment
        key = task_definition_key(
            service.account, service.region, deployment.family, deployment.revision
        )
        entry = self._view.rows(TASK_DEFINITIONS).get(key)
        assert entry is not None, "task definitions in use are never deleted"
        return entry.value

    def _find_subnets(self) -> list[Subnet]:
        """Those of the deployment's network that are still there."""
        network = self._deployment.network
        place = (self._service.account, self._service.region)
        found = [self._vpc.subnet(*place, id) for id in network["subnets"]] if network else []
        return [subnet for subnet in found if subnet is not None]

    def next(self, now: float) -> tuple[Task, Parts]:
        """One more task, and what creates it and its interface. Raises NoAddress."""
        service, deployment = self._service, self._deployment
        provider = ""
        if deployment.strategy:
            provider = capacity.next_provider(deployment.strategy, self._providers)
        task = Task(
            account=service.account,
            region=service.region,
            cluster=service.cluster,
            id=new_task_id(self._chance),
            family=deployment.family,
            revision=deployment.revision,
            launch_type=deployment.launch_type,
            capacity_provider=provider,
            platform_version=deployment.platform_version,
            group=f"service:{service.name}",
            service=service.name,
            deployment=deployment.id,
            started_by=deployment.id,
            tags=self._tags(),
            exec_enabled=service.exec_enabled,
            strategy=_pairs(service.placement_strategy, "field"),
            constraints=_pairs(service.placement_constraints, "expression"),
            prepared=self._prepared,
            created_at=now,
        )
        task, parts = self._connected(launch.draft(task, self._definition, self._chance))
        self._providers[provider] += 1
        self._zones[task.interface.zone if task.interface else ""] += 1
        return task, writes.joined((writes.created(task, task.key), parts))

    def _connected(self, task: Task) -> tuple[Task, Parts]:
        network = self._deployment.network
        if network is None:
            return task, Parts()
        if not self._subnets:
            raise NoAddress("the subnets of the service no longer exist")
        zones = [] if task.launch_type == "FARGATE" else self._instance_zones()
        subnet = launch.next_subnet(self._subnets, self._zones, zones)
        return launch.with_interface(task, subnet.id, network, self._vpc, self._taken, self._chance)

    def _instance_zones(self) -> list[str]:
        service = self._service
        return self._zones_of(cluster_key(service.account, service.region, service.cluster))

    def _tags(self) -> Tags:
        service = self._service
        tags: Tags = ()
        if service.propagate_tags == "SERVICE":
            tags = service.tags
        elif service.propagate_tags == "TASK_DEFINITION":
            tags = self._definition.tags
        if service.managed_tags:
            tags = (
                *tags,
                {"key": "aws:ecs:clusterName", "value": service.cluster},
                {"key": "aws:ecs:serviceName", "value": service.name},
            )
        return tags


def _pairs(items: Sequence[dict[str, object]], second: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(item["type"]), str(item.get(second) or "")) for item in items)
