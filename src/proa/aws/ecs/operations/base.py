"""What every operation has at hand: the store, the view, the ports, and the ways to use them.

Reads are consistent: an operation first waits until the view shows the store's newest commit,
so that a caller sees its own writes. Writes are decided on that picture and guarded by it; a
lost race is decided again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from proa.aws.ecs.keys import cluster_key, family_key, service_key, task_definition_key
from proa.aws.ecs.names import cluster_name
from proa.aws.ecs.ports import LogGroups, Placer, Vpc
from proa.aws.ecs.records import Cluster, Service, Task, TaskDefinition
from proa.aws.ecs.tables import CLUSTERS, FAMILIES, SERVICES, TASK_DEFINITIONS, TASKS
from proa.aws.gateway.service import AwsError, Context, Input
from proa.base.chance import Chance
from proa.base.errors import Conflict
from proa.reconcile.view import Entry, View
from proa.store.api import Store, Transaction

T = TypeVar("T")
ATTEMPTS = 10


@dataclass(slots=True, frozen=True)
class Ecs:
    """The dependencies of ECS's operations."""

    store: Store
    view: View
    vpc: Vpc
    placer: Placer
    logs: LogGroups
    chance: Chance

    async def fresh(self) -> None:
        """Wait until the view shows every commit acknowledged so far."""
        await self.view.reached(await self.store.version())

    async def commit(self, transaction: Transaction) -> None:
        """Commit and wait until the view shows it. Raises Conflict."""
        done = await self.store.commit(transaction)
        await self.view.reached(done.version)

    async def decide(self, decision: Callable[[], tuple[Transaction | None, T]]) -> T:
        """Decide on a fresh view, commit, and decide again after a lost race.

        Raises ServerException when races are lost ATTEMPTS times in a row."""
        for _ in range(ATTEMPTS):
            await self.fresh()
            transaction, result = decision()
            if transaction is None:
                return result
            try:
                await self.commit(transaction)
            except Conflict:
                continue
            return result
        raise AwsError("ServerException", "Service Unavailable. Please try again later.", 500)

    def cluster(self, context: Context, request: Input, member: str = "cluster") -> Entry[Cluster]:
        """The ACTIVE cluster a request is about. Raises ClusterNotFoundException."""
        name = cluster_name(context, request.get(member))
        entry = self.view.rows(CLUSTERS).get(cluster_key(context.account, context.region, name))
        if entry is None or entry.value.status != "ACTIVE":
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return entry

    def definition(
        self, context: Context, family: str, revision: int
    ) -> Entry[TaskDefinition] | None:
        """A revision, or for 0 the newest ACTIVE one of the family."""
        rows = self.view.rows(TASK_DEFINITIONS)
        place = (context.account, context.region, family)
        if revision:
            return rows.get(task_definition_key(*place, revision))
        highest = self.view.rows(FAMILIES).get(family_key(*place))
        for number in range(highest.value.revision if highest else 0, 0, -1):
            entry = rows.get(task_definition_key(*place, number))
            if entry is not None and entry.value.status == "ACTIVE":
                return entry
        return None

    def tasks(self, cluster: Cluster) -> list[Entry[Task]]:
        """Every task of a cluster that is still known, in key order."""
        return self.view.rows(TASKS).by("cluster", cluster.key)

    def service(self, cluster: Cluster, name: str) -> Entry[Service] | None:
        """A service of a cluster, whatever its status."""
        key = service_key(cluster.account, cluster.region, cluster.name, name)
        return self.view.rows(SERVICES).get(key)

    def services(self, cluster: Cluster) -> list[Entry[Service]]:
        """Every service of a cluster, in key order."""
        return self.view.rows(SERVICES).by("cluster", cluster.key)
