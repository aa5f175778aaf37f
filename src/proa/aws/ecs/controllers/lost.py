"""Lost places: tasks whose Instance is no more, because its Host has left for good.

DeregisterContainerInstance ends the tasks of an Instance before it takes the Instance away; a
machine that is switched off takes it away at once, and Fargate's Instances with it. The words are
those of "Stopped tasks error messages" of the developer guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.aws.ecs import hull, writes
from proa.aws.ecs.ports import Vpc
from proa.aws.ecs.records import Task
from proa.aws.ecs.tables import TASKS
from proa.cloud import compute
from proa.model.host import Instance
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Commit, Plan
from proa.reconcile.view import Change, View

CODE = "TerminationNotice"
REASON = "Host EC2 (instance {instance}) terminated."


def _on_it(view: View, change: Change[Instance]) -> Iterable[str]:
    if change.new is not None or change.old is None:
        return ()
    return [entry.key for entry in view.rows(TASKS).by("instance", change.old.value.id)]


def _placed(view: View, change: Change[Task]) -> Iterable[str]:
    """Tasks whose Instance has gone before they could be looked at; none, in the ordinary run."""
    old, new = change.old, change.new
    if new is None or (old is not None and old.value.instance == new.value.instance):
        return ()  # from its binding on the Instance's own going is what ends it
    return (change.key,) if _is_lost(view, new.value) else ()


def _is_lost(view: View, task: Task) -> bool:
    if not task.instance or task.last_status == "STOPPED":
        return False
    return compute.instance_of(view, task.instance) is None


class LostPlaces:
    """Keys are tasks'."""

    name = "ecs-lost-places"

    def __init__(self, vpc: Vpc) -> None:
        self._vpc = vpc
        self.triggers: Sequence[Trigger] = (
            Trigger(compute.INSTANCES, _on_it),
            Trigger(TASKS, _placed, ("instance",)),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        """End the task: nothing of it can be left."""
        entry = view.rows(TASKS).get(key)
        if entry is None or not _is_lost(view, entry.value):
            return NOTHING
        reason = REASON.format(instance=entry.value.instance)
        parts = hull.lost(entry, CODE, reason, self._vpc, now)
        return Plan((Commit(writes.transaction(parts)),))
