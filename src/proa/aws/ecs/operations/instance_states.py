"""What is done to container instances: DRAINING and back, and deregistration.

Draining only marks the Instance: placement stops choosing it, and the service controller replaces
the service tasks on it within the deployment's percentages. Sources: the service model's
documentation of UpdateContainerInstancesState and DeregisterContainerInstance.
"""

from __future__ import annotations

import contextlib

import msgspec

from proa.aws.ecs import hull, writes
from proa.aws.ecs.keys import instance_note_key
from proa.aws.ecs.names import invalid, within_cluster
from proa.aws.ecs.operations import instances
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Cluster, InstanceNote, put
from proa.aws.ecs.tables import TASKS
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.base.errors import Conflict
from proa.cloud import compute
from proa.dispatch.skin import Parts
from proa.model.host import Instance
from proa.store.api import Delete, Guard, Transaction

MAX_UPDATED = 10
MAX_ROUNDS = 200  # of ending tasks, a transaction each
STATES = {"ACTIVE": "active", "DRAINING": "draining"}
FORCED = "Container instance deregistration forced by user"
NO_UPDATE = "There is no update available for your container agent."


async def update_state(ecs: Ecs, context: Context, request: Input) -> Output:
    """Make container instances DRAINING or ACTIVE; unknown ones are failures."""
    wanted, status = request["containerInstances"], request["status"]
    if status not in STATES:
        raise invalid("Container instance status should be one of [ACTIVE, DRAINING].")
    if not 1 <= len(wanted) <= MAX_UPDATED:
        raise invalid(f"Container instances must have 1 to {MAX_UPDATED} elements.")

    def decision() -> tuple[Transaction | None, Output]:
        cluster = ecs.cluster(context, request).value
        found: dict[str, Instance] = {}
        failures = []
        for text in wanted:
            instance = instances.find_instance(ecs, context, cluster, text)
            if instance is None:
                id = within_cluster(context, text, "container-instance", cluster.name)
                arn = instances.instance_arn(cluster, id)
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found[instance.id] = instance
        changed = [msgspec.structs.replace(item, state=STATES[status]) for item in found.values()]
        parts = [_with_state(ecs, cluster, item) for item in changed if item != found[item.id]]
        shown = [instances.shown(ecs, cluster, item) for item in changed]
        answer = {"containerInstances": shown, "failures": failures}
        return (writes.transaction(*parts) if parts else None), answer

    return await ecs.decide(decision)


def _with_state(ecs: Ecs, cluster: Cluster, instance: Instance) -> Parts:
    entry = ecs.view.rows(compute.INSTANCES).get(compute.instance_key(instance.id))
    assert entry is not None, "it was found in the same view"
    changed = Parts((Guard(entry.key, entry.version),), (compute.put_instance(instance),))
    return writes.joined((changed, noted(ecs, cluster, instance.id)))


def noted(ecs: Ecs, cluster: Cluster, instance: str, **changes: object) -> Parts:
    """The write of an Instance's note with some members changed and its version counted up."""
    entry = hull.note_of(ecs.view, instance)
    key = instance_note_key(cluster.account, cluster.region, instance)
    before = entry.value if entry else InstanceNote(instance)
    note = msgspec.structs.replace(before, changes=before.changes + 1, **changes)
    return Parts((Guard(key, entry.version if entry else 0),), (put(key, note),))


async def deregister(ecs: Ecs, context: Context, request: Input) -> Output:
    """Take a container instance out of its cluster. With ``force`` its tasks end; without, one
    that runs tasks is refused. An agent that starts anew registers its Host again."""
    for _ in range(MAX_ROUNDS):
        await ecs.fresh()
        cluster = ecs.cluster(context, request).value
        instance = _found(ecs, context, cluster, request)
        tasks = ecs.view.rows(TASKS).by("instance", instance.id)
        if not tasks:
            break
        if not request.get("force"):
            raise invalid("Found running tasks on the instance.")
        ends = (hull.lost(item, "UserInitiated", FORCED, ecs.vpc, context.now) for item in tasks)
        with contextlib.suppress(Conflict):  # somebody changed one of them: look again
            await ecs.commit(writes.batches(ends)[0])

    def decision() -> tuple[Transaction, Output]:
        instance = _found(ecs, context, cluster, request)
        answer = instances.shown(ecs, cluster, instance)
        key = compute.instance_key(instance.id)
        entry = ecs.view.rows(compute.INSTANCES).get(key)
        assert entry is not None, "it was found in the same view"
        note = Delete(instance_note_key(cluster.account, cluster.region, instance.id))
        gone = Parts((Guard(key, entry.version),), (Delete(key), note))
        transaction = writes.transaction(gone, ecs.vpc.release_addresses(key))
        return transaction, {"containerInstance": {**answer, "status": "INACTIVE"}}

    return await ecs.decide(decision)


def _found(ecs: Ecs, context: Context, cluster: Cluster, request: Input) -> Instance:
    instance = instances.find_instance(ecs, context, cluster, request["containerInstance"])
    if instance is None:
        raise invalid("Referenced container instance not found.")
    return instance


async def update_agent(ecs: Ecs, context: Context, request: Input) -> Output:
    """Proa's agents come with Proa: there is never a newer one to fetch."""
    await ecs.fresh()
    _found(ecs, context, ecs.cluster(context, request).value, request)
    raise AwsError("NoUpdateAvailableException", NO_UPDATE)
