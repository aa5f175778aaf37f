"""The table of contents: every controller of the Kubernetes bow.

The assembly gives the list to the Runner, ``kube.tables.TABLES`` to the View, and
``controllers.steps.performers`` over the API's in-process entrance to the Runner.
"""

from __future__ import annotations

from collections.abc import Callable

from proa.base.chance import Chance
from proa.kube.controllers.addresses import AddressController
from proa.kube.controllers.cluster import (
    ApiPlace,
    EventExpiryController,
    KubernetesServiceController,
)
from proa.kube.controllers.cron_job.controller import CronJobController
from proa.kube.controllers.daemon_set.controller import DaemonSetController
from proa.kube.controllers.deployment.controller import DeploymentController
from proa.kube.controllers.disruption import DisruptionController
from proa.kube.controllers.endpoint_slices import EndpointSliceController
from proa.kube.controllers.endpoints import EndpointsController
from proa.kube.controllers.evictions import PodGarbageController, TaintEvictionController
from proa.kube.controllers.garbage import GarbageController
from proa.kube.controllers.job.controller import JobController
from proa.kube.controllers.job.endings import JobPodReleaseController, JobTtlController
from proa.kube.controllers.load_balancers import LoadBalancerController
from proa.kube.controllers.namespaces import (
    NamespaceController,
    RootCaController,
    ServiceAccountController,
)
from proa.kube.controllers.node_lifecycle import NodeLifecycleController
from proa.kube.controllers.replica_set import ReplicaSetController
from proa.kube.controllers.stateful_set.controller import StatefulSetController
from proa.kube.nodes import Heartbeats
from proa.reconcile.controller import Controller


def controllers(
    chance: Chance,
    root_ca: Callable[[str], str],
    place: Callable[[str], ApiPlace | None],
    heartbeats: Heartbeats,
) -> list[Controller]:
    """Every controller, for all clusters at once. Of a cluster's uid, ``root_ca`` gives its CA as
    PEM and ``place`` where its pods reach its API (None for one that has gone). Each controller
    draws from a stream of its own."""
    return [
        DeploymentController(),
        ReplicaSetController(chance.child("replica-set")),
        StatefulSetController(),
        DaemonSetController(chance.child("daemon-set")),
        JobController(chance.child("job")),
        JobTtlController(),
        JobPodReleaseController(),
        CronJobController(),
        EndpointSliceController(chance.child("endpoint-slice")),
        EndpointsController(),
        LoadBalancerController(place),
        NamespaceController(),
        ServiceAccountController(),
        RootCaController(root_ca),
        GarbageController(),
        NodeLifecycleController(heartbeats),
        TaintEvictionController(),
        PodGarbageController(),
        DisruptionController(),
        AddressController(chance.child("pod-address")),
        KubernetesServiceController(place),
        EventExpiryController(),
    ]
