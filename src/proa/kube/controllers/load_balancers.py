"""Load balancers: a Service of type LoadBalancer is reached at its port at the nodes themselves.

Without a balancer outside, the nodes take its part, as k3s' ServiceLB does: a Service gets the
nodes' addresses if its ports are free there. Of two that want the same port the older has it, the
other waits. A Service with a loadBalancerClass is left to whoever serves that class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proa.cloud import compute
from proa.kube.api.call import Call
from proa.kube.controllers.cluster import ApiPlace
from proa.kube.controllers.common import patch, service_account
from proa.kube.events import Said, event_call
from proa.kube.objects import Service
from proa.kube.tables import HOST_PORTS, PREFIX, SERVICES, cluster_of, describe
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

USER = service_account("service-controller")
COMPONENT = "service-controller"
Taken = dict[tuple[int, str], str]  # (port, protocol) → who has it


class LoadBalancerController:
    """Key: the cluster's uid, because its Services share their nodes' ports."""

    name = "load-balancer"

    def __init__(self, place: Callable[[str], ApiPlace | None]) -> None:
        self._place = place
        self.triggers: Sequence[Trigger] = (
            Trigger(SERVICES, _if_balanced),
            Trigger(HOST_PORTS, _if_taken),
            Trigger(compute.INSTANCES, _cluster_of_instance),
        )

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        place = self._place(key)
        if place is None:
            return NOTHING
        services = [
            entry
            for entry in view.rows(SERVICES).scan(f"{PREFIX}{key}/core/services/")
            if not entry.value.metadata.deleting and _is_balanced(entry.value)
        ]
        if not services:
            return NOTHING
        addresses = _addresses(view, key)
        taken: Taken = {(port, "tcp"): "Proa itself" for port in (place.port, *place.own_ports)}
        for pod in view.rows(HOST_PORTS).by("cluster", key):
            for port in pod.value.ports:
                taken[port.number, port.protocol] = f"pod {pod.key.rpartition('/')[2]}"
        calls: list[Call] = []
        for entry in sorted(services, key=lambda one: (one.created, one.key)):
            calls += _decided(view, entry, addresses, taken, now)
        return Plan(tuple(calls))


def _decided(
    view: View, entry: Entry[Service], addresses: list[str], taken: Taken, now: float
) -> list[Call]:
    """Give a Service its addresses, take away what it should not have, or say why it waits."""
    service, spec = entry.value, entry.value.spec
    present = [item.ip for item in service.status.load_balancer.ingress]
    if spec.type != "LoadBalancer":
        return [_written(entry, [])] if present else []
    if spec.load_balancer_class is not None:
        return []
    ports = [(port.port, port.protocol.lower()) for port in spec.ports]
    holder = next((taken[port] for port in ports if port in taken), "")
    if holder:
        number = next(port[0] for port in ports if port in taken)
        text = f"Error syncing load balancer: port {number} of the nodes belongs to {holder}"
        said = Said("SyncLoadBalancerFailed", text, "Warning", COMPONENT)
        known = [_written(entry, [])] if present else []
        return [*known, *_once(view, entry, said, now)]
    taken.update(dict.fromkeys(ports, f"Service {describe(service.metadata)}"))
    if present == addresses:
        return []
    said = Said("EnsuredLoadBalancer", "Ensured load balancer", component=COMPONENT)
    return [_written(entry, addresses), *event_call(view, entry, said, now)]


def _once(view: View, entry: Entry[Service], said: Said, now: float) -> Sequence[Call]:
    """An event, unless it stands there: this controller looks at all Services at every change."""
    calls = event_call(view, entry, said, now)
    return [call for call in calls if call.verb == "create"]


def _written(entry: Entry[Service], addresses: list[str]) -> Call:
    ingress: list[dict[str, Any]] = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    balancer: dict[str, Any] = {"ingress": ingress or None}
    return patch(entry, {"status": {"loadBalancer": balancer}}, USER, "status")


def _addresses(view: View, cluster: str) -> list[str]:
    """Where the nodes are reached: the shared ones, which have the Host's own addresses, before
    all others."""
    found = [
        entry.value
        for entry in view.rows(compute.INSTANCES).by("cluster", f"{PREFIX}{cluster}/")
        if entry.value.purchase != "fargate" and entry.value.address
    ]
    shared = [instance for instance in found if instance.shared]
    return sorted(instance.address for instance in shared or found)


def _if_balanced(_view: View, change: Change[Service]) -> Iterable[str]:
    sides = [side.value for side in (change.old, change.new) if side is not None]
    return (cluster_of(change.key),) if any(map(_is_balanced, sides)) else ()


def _is_balanced(service: Service) -> bool:
    """Whether it wants addresses of the nodes, or has some."""
    return service.spec.type == "LoadBalancer" or bool(service.status.load_balancer.ingress)


def _if_taken(_view: View, change: Change[Any]) -> Iterable[str]:
    ports = [side.value.ports if side else () for side in (change.old, change.new)]
    return (cluster_of(change.key),) if ports[0] != ports[1] else ()


def _cluster_of_instance(_view: View, change: Change[Any]) -> Iterable[str]:
    side = change.new or change.old
    if side is None or not side.value.cluster.startswith(PREFIX):
        return ()
    return (cluster_of(side.value.cluster),)
