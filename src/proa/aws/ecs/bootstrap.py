"""What every account and region of ECS starts with: the cluster "default".

``server.assemble`` commits it once. The cluster offers Fargate, and EC2 launches on the shared
Instance that each Host contributes to it (``cloud.compute.local_instance`` with ``cluster_key``).
"""

from __future__ import annotations

from proa.aws.ecs import writes
from proa.aws.ecs.fargate import CAPACITY_PROVIDERS
from proa.aws.ecs.names import DEFAULT_CLUSTER
from proa.aws.ecs.records import Cluster
from proa.store.api import Transaction


def bootstrap(account: str, region: str, now: float) -> Transaction:
    """The default cluster, guarded by its absence: a Conflict means that it is there already."""
    cluster = Cluster(
        account=account,
        region=region,
        name=DEFAULT_CLUSTER,
        created_at=now,
        capacity_providers=CAPACITY_PROVIDERS,
    )
    return writes.transaction(writes.created(cluster, cluster.key))
