"""Why an Instance (a node, a container instance) is as full or as unready as it is."""

from __future__ import annotations

from collections.abc import Callable

from proa.cloud import compute
from proa.dispatch.scheduler import Scheduler
from proa.kube.objects import condition
from proa.kube.tables import cluster_of, node_of
from proa.model.host import Instance
from proa.placement.fleet import AMOUNTS
from proa.reconcile.view import View
from proa.server.why.pods import events_of
from proa.server.why.report import Report, amount_text

SHOWN_HOLDERS = 5


def node_report(
    view: View, scheduler: Scheduler, instance: Instance, ready: Callable[[str], bool]
) -> Report:
    """One Instance: whether its agent lives, what is left, who holds the most."""
    because: list[str] = []
    advice: list[str] = []
    if not ready(instance.host):
        because.append(f"the agent of host {instance.host} gives no sign of life")
        advice.append("look at proa doctor and proa logs agent")
    events: tuple[str, ...] = ()
    if instance.cluster.startswith("/kube/"):
        node = node_of(view, cluster_of(instance.cluster + "x"), instance.name)
        if node is None:
            because.append("it has not become a Node yet")
        else:
            events = tuple(events_of(view, node))
            found = condition(node.value.status.conditions, "Ready")
            if found is None or found.status != "True":
                because.append(f"Ready is {found.status if found else 'Unknown'}: "
                               f"{found.message if found else 'no condition yet'}")  # fmt: skip
            if node.value.spec.unschedulable:
                because.append("it is cordoned (unschedulable)")
                advice.append(f"kubectl uncordon {instance.name}")
            because += [
                f"it has the taint {taint.key}={taint.value}:{taint.effect}"
                for taint in node.value.spec.taints
            ]
    name = f"{instance.name or instance.id} ({instance.id})"
    return Report("Node", name, instance.state, tuple(because), (), events, tuple(advice),
                  tuple(_room(scheduler, instance)))  # fmt: skip


def _room(scheduler: Scheduler, instance: Instance) -> list[str]:
    fleet = scheduler.fleet
    number = fleet.number_of.get(instance.id)
    if number is None:
        return ["placement does not know it"]
    lines = []
    for index, name in enumerate(AMOUNTS):
        total, used = int(fleet.allocatable[number][index]), int(fleet.used[number][index])
        if not total:
            continue
        text = f"{amount_text(name, total - used)} left of {amount_text(name, total)}"
        pool = fleet.pool_total.get(instance.host)
        if instance.shared and pool is not None and name in ("cpu", "memory"):
            left = int(pool[index] - fleet.pool_used[instance.host][index])
            text += f"; {amount_text(name, left)} in the machine's Pool, which others share"
        lines.append(text)
    held = [booking for booking in fleet.bookings.values() if booking.row == number]
    held.sort(key=lambda booking: (-booking.reserve.cpu, -booking.reserve.memory, booking.uid))
    for booking in held[:SHOWN_HOLDERS]:
        lines.append(
            f"held by {'/'.join(booking.uid.split('/')[-2:])}: "
            f"{amount_text('cpu', booking.reserve.cpu)}, "
            f"{amount_text('memory', booking.reserve.memory)}"
        )
    if len(held) > SHOWN_HOLDERS:
        lines.append(f"and {len(held) - SHOWN_HOLDERS} more")
    return lines


def instances_named(view: View, word: str) -> list[Instance]:
    """Instances by id, node name, or ARN of a container instance."""
    last = word.rsplit("/", 1)[-1]
    return [
        entry.value
        for entry in view.rows(compute.INSTANCES).scan()
        if last in (entry.value.id, entry.value.name) or _hex(entry.value.id) == last
    ]


def _hex(id: str) -> str:
    return id.removeprefix("i-")
