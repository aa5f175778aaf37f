"""What must be so once faults are over and nobody asks for more: every wish fulfilled, nothing
left over.

``scenario`` asks again and again until nothing is missing, or time is over. All is read from the
world's own view of the store and from its machines, not from what the APIs say of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from proa.aws.ecs.records import Service, Task
from proa.aws.ecs.tables import PORT_CLAIMS, SERVICES, TASKS
from proa.cloud import compute
from proa.cloud.network import ADDRESSES, INTERFACES
from proa.kube.objects import Pod, condition
from proa.kube.tables import (
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NAMESPACES,
    OBJECTS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    cluster_of,
    selected_pods,
)
from proa.kube.tables import SERVICES as KUBE_SERVICES
from proa.reconcile.view import Entry, View
from proa.sim.world import World


def unsettled(world: World) -> list[str]:
    """Everything that is not yet as it should be, in words."""
    view = world.view
    found = [*_kube(view), *_ecs(view), *_left_over(view), *_machines(world)]
    front = world.front
    if front is None or front.plane.runner is None or not front.plane.runner.idle:
        found.append("controllers are at work")
    return found


# Kubernetes


def _kube(view: View) -> Iterator[str]:
    yield from _deployments(view)
    yield from _sets(view)
    for job in view.rows(JOBS).scan():
        conditions = job.value.status.conditions
        done = any(item.type in ("Complete", "Failed") for item in conditions)
        if not done and not job.value.metadata.deleting:
            yield f"{job.key} is not complete"
    for pod in view.rows(PODS).scan():
        yield from _pod(view, pod)
    for space in view.rows(NAMESPACES).scan():
        if space.value.metadata.deleting:
            yield f"{space.key} is still going"
    yield from _endpoints(view)


def _deployments(view: View) -> Iterator[str]:
    for entry in view.rows(DEPLOYMENTS).scan():
        spec, status = entry.value.spec, entry.value.status
        shown = (status.replicas, status.updated_replicas, status.ready_replicas,
                 status.available_replicas)  # fmt: skip
        if status.observed_generation != entry.value.metadata.generation:
            yield f"{entry.key} has not been looked at"
        elif shown != (spec.replicas,) * 4:
            yield f"{entry.key} wants {spec.replicas} and shows {shown}"
    for owned in view.rows(REPLICA_SETS).scan():
        meta = owned.value.metadata
        pods = view.rows(PODS).by("controller", f"{cluster_of(owned.key)}/{meta.uid}")
        active = sum(pod.value.active for pod in pods)
        if active != owned.value.spec.replicas:
            yield f"{owned.key} wants {owned.value.spec.replicas} and has {active}"


def _sets(view: View) -> Iterator[str]:
    for stateful in view.rows(STATEFUL_SETS).scan():
        status = orjson.loads(stateful.body).get("status", {})
        wanted = stateful.value.spec.replicas
        shown = [status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas")]
        if shown != [wanted] * 3:
            yield f"{stateful.key} wants {wanted} and shows {shown}"
    for daemon in view.rows(DAEMON_SETS).scan():
        status = orjson.loads(daemon.body).get("status", {})
        wanted = status.get("desiredNumberScheduled", -1)
        if wanted != status.get("numberReady", 0) or status.get("numberMisscheduled", 0):
            yield f"{daemon.key} wants {wanted} and shows {status}"


def _pod(view: View, entry: Entry[Pod]) -> Iterator[str]:
    pod = entry.value
    if pod.metadata.deleting:
        yield f"{entry.key} is still going"
    elif pod.status.phase == "Running":
        ready = condition(pod.status.conditions, "Ready")
        if ready is None or ready.status != "True":
            yield f"{entry.key} is not ready"
    elif not pod.terminal:
        yield f"{entry.key} is {pod.status.phase}"


def _endpoints(view: View) -> Iterator[str]:
    for service in view.rows(KUBE_SERVICES).scan():
        meta, selector = service.value.metadata, service.value.spec.selector
        if not selector:
            continue
        cluster = cluster_of(service.key)
        pods = selected_pods(view, cluster, meta.namespace, selector)
        wanted = {
            pod.value.status.pod_ip
            for pod in pods
            if pod.value.active and pod.value.ready_since is not None
        }
        slices = view.rows(ENDPOINT_SLICES).by("service", f"{cluster}/{meta.namespace}/{meta.name}")
        shown = {
            address
            for item in slices
            for point in item.value.endpoints
            if point.ready
            for address in point.addresses
        }
        if shown != wanted:
            yield f"{service.key} leads to {sorted(shown)}, not to {sorted(wanted)}"


# ECS


def _ecs(view: View) -> Iterator[str]:
    for service in view.rows(SERVICES).scan():
        yield from _service(view, service)
    for task in view.rows(TASKS).scan():
        status = task.value.last_status
        if status == "RUNNING" and not task.value.service:
            yield f"{task.key} has not run to its end"
        if status not in ("RUNNING", "STOPPED") or task.value.desired_status != status:
            yield f"{task.key} is {status} and should be {task.value.desired_status}"


def _service(view: View, entry: Entry[Service]) -> Iterator[str]:
    service = entry.value
    tasks: list[Task] = [item.value for item in view.rows(TASKS).by("service", entry.key)]
    running = [task for task in tasks if task.last_status == "RUNNING"]
    if service.status == "DRAINING":
        yield f"{entry.key} is still draining"
    elif service.status == "ACTIVE":
        if len(running) != service.desired_count:
            yield f"{entry.key} wants {service.desired_count} and has {len(running)}"
        elif any(task.deployment != service.primary.id for task in running):
            yield f"{entry.key} runs tasks of an old deployment"
        elif service.primary.rollout_state != "COMPLETED" or len(service.deployments) > 1:
            yield f"{entry.key} is {service.primary.rollout_state}"
    elif running:
        yield f"{entry.key} has gone and has {len(running)} tasks"


# What belongs to something


def _left_over(view: View) -> Iterator[str]:
    """Records that nothing stands behind."""
    objects = view.rows(OBJECTS)
    for entry in objects.scan():
        cluster = cluster_of(entry.key)
        owners = entry.value.metadata.owner_references
        if owners and not any(objects.by("uid", f"{cluster}/{owner.uid}") for owner in owners):
            yield f"{entry.key} has lost its owner"
    for held in view.rows(ADDRESSES).scan():
        if not _exists(view, held.value.holder):
            yield f"{held.key} is held by {held.value.holder}, which is no more"
    for interface in view.rows(INTERFACES).scan():
        if interface.value.holder and not _exists(view, interface.value.holder):
            yield f"{interface.key} is held by {interface.value.holder}, which is no more"
    for claim in view.rows(PORT_CLAIMS).scan():
        if not _exists(view, claim.value.task):
            yield f"{claim.key} is held by {claim.value.task}, which is no more"
    for entry_of_instance in view.rows(compute.INSTANCES).scan():
        instance = entry_of_instance.value
        if instance.purchase == "fargate" and not view.rows(TASKS).by("instance", instance.id):
            yield f"{instance.id} was made for a task that is no more"


def _exists(view: View, holder: str) -> bool:
    """Whether what holds something still may: a pod of this uid, a task that is not over, an
    Instance, an interface."""
    key, _, uid = holder.partition("@")
    if uid:
        pod = view.rows(PODS).get(key)
        return pod is not None and pod.value.metadata.uid == uid
    if "/ecs/task/" in holder:
        task = view.rows(TASKS).get(holder)
        return task is not None and task.value.last_status != "STOPPED"
    if holder.startswith(compute.INSTANCE_PREFIX):
        return view.rows(compute.INSTANCES).get(holder) is not None
    return True


# Machines


def _machines(world: World) -> Iterator[str]:
    """What runs must be wanted, and what is wanted must run."""
    for id, host in world.hosts.items():
        if host.dead:
            continue
        listing = host.runtime.listing()
        wanted = _wanted_on(world.view, id)
        running = {item.uid for item in listing.containers if item.state == "running"}
        for uid, key in wanted.items():
            if uid not in running:
                yield f"{key} does not run on {id}"
        for sandbox in listing.sandboxes:
            if sandbox.ready and sandbox.uid not in wanted:
                yield f"{sandbox.uid} runs on {id} and nobody wants it"
        for key in host.network.attached:
            if key.partition("#")[0] not in wanted:
                yield f"{key} has an interface on {id} and nobody wants it"


def _wanted_on(view: View, host: str) -> dict[str, str]:
    """uid → key of what must run on a Host."""
    wanted: dict[str, str] = {}
    for instance in compute.instances_on(view, host):
        for task in view.rows(TASKS).by("dispatched", instance.id):
            wanted[task.value.id] = task.key
        if instance.cluster.startswith("/kube/"):
            name = f"{cluster_of(instance.cluster)}/{instance.name}"
            for pod in view.rows(PODS).by("node", name):
                if not pod.value.terminal:
                    wanted[pod.value.metadata.uid] = pod.key
    return wanted
