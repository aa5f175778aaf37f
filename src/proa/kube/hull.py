"""Kubernetes' side of the hull: how its pods are placed, bound, sent out and reported on.

``KubeSkin`` satisfies ``dispatch.skin.Skin``. A pod is bound by one transaction that books its
address and writes ``spec.nodeName``; everything else this module changes goes through the API's
own path as Calls. The booked address is held by ``holder_of`` the pod until the address
controller gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from proa.base.chance import Chance
from proa.base.clock import Clock, iso8601
from proa.base.errors import CallerFault, Conflict
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.cloud.network import (
    ADDRESSES,
    HeldAddress,
    NetworkPlanner,
    NoFreeAddresses,
    mac_of,
)
from proa.cloud.network.records import ADDRESS_PREFIX
from proa.dispatch.skin import Held, Parts
from proa.kube import preemption
from proa.kube.asks import ask_of, row_of, wants_place
from proa.kube.compile import services
from proa.kube.compile.pod import compile_pod
from proa.kube.compile.services import NodePlace
from proa.kube.compile.sources import Json, Sources, TokenRequest
from proa.kube.compile.tokens import TokenCache
from proa.kube.controllers.addresses import holder_of
from proa.kube.controllers.common import instant
from proa.kube.controllers.steps import CallPerformer
from proa.kube.decoding import handed_over, members, whole
from proa.kube.events import scheduled_event
from proa.kube.keys import object_key, parse_key
from proa.kube.objects import Pod
from proa.kube.reports import Reports
from proa.kube.tables import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    HOST_PORTS,
    NAMESPACES,
    NODES,
    OBJECTS,
    PODS,
    PREFIX,
    SECRETS,
    SERVICES,
    cluster_of,
    node_of,
)
from proa.kube.unschedulable import message_of, unschedulable_calls
from proa.model.feed import ServiceRange, Vip, ZoneRecord
from proa.model.host import Instance
from proa.model.sandbox import Assignment, NodeEvent, SandboxStatus
from proa.placement.asks import Ask, Row, Unplaced
from proa.placement.preemption import Budget
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, Table, View
from proa.store.api import Delete, Exists, Guard, Put, Store

log = get_logger(__name__)
SHORT_GRACE_S = 600  # within it no token ages that a pod had when it was told to end
_NODE_NAME = b'"nodeName"'


@dataclass(slots=True, frozen=True)
class Links:
    """What the port is wired to. ``perform`` is the API's in-process entrance, ``tokens`` mints
    service account tokens, ``cluster_dns`` is the address
    of a cluster's name server, ``service_range`` the range of its virtual addresses and
    ``api_port`` the Host's port of its API, by the cluster's uid. ``guest_dns`` are the addresses
    at which others than its pods ask for a cluster's names (the tasks of its VPC)."""

    store: Store
    clock: Clock
    chance: Chance
    perform: CallPerformer
    tokens: Callable[[TokenRequest], str]
    cluster_dns: Callable[[str], str] = lambda _cluster: "10.100.0.10"
    service_range: Callable[[str], str] = lambda _cluster: "10.100.0.0/16"
    api_port: Callable[[str], int] = lambda _cluster: 6443
    guest_dns: Callable[[str], tuple[str, ...]] = lambda _cluster: ()


class KubeSkin:
    """The Kubernetes bow's part of the hull."""

    name = "kube"
    sandboxes: Table[Any] = PODS
    nodes: Sequence[Table[Any]] = (NODES,)
    namespaces: Sequence[Table[Any]] = (NAMESPACES,)
    stakes: Sequence[Table[Any]] = (ADDRESSES, CONFIG_MAPS, SECRETS)
    traffic: Sequence[Table[Any]] = (SERVICES, ENDPOINT_SLICES, HOST_PORTS, compute.INSTANCES)

    def __init__(self, links: Links) -> None:
        self._links = links
        self._tokens = TokenCache(links.tokens, links.clock)
        self._planner = lru_cache(maxsize=1)(NetworkPlanner)  # by view: it is always the same one
        self._reports = Reports(
            links.store, links.clock, links.chance.child("reports"), links.perform
        )

    # Placement

    def row(self, view: View, instance: Instance) -> Row | None:
        """A Kubernetes cluster's Instance with a Node of its name."""
        if not instance.cluster.startswith(PREFIX):
            return None
        node = node_of(view, cluster_of(instance.cluster), instance.name)
        return row_of(instance, node.value) if node else None

    def instance_of_node(self, view: View, change: Change[Any]) -> str | None:
        """The Instance behind a Node."""
        instance = _instance(view, cluster_of(change.key), parse_key(change.key).name)
        return instance.id if instance else None

    def namespace(self, change: Change[Any]) -> tuple[str, str, dict[str, str]]:
        """A namespace and its labels; one that is gone has none."""
        labels = change.new.value.metadata.labels if change.new else {}
        return f"{PREFIX}{cluster_of(change.key)}/", parse_key(change.key).name, labels

    def ask(self, view: View, key: str) -> Ask | None:
        """What a pod without a node asks for."""
        entry = view.rows(PODS).get(key)
        return ask_of(view, entry) if entry and wants_place(entry.value) else None

    def held(self, view: View, key: str) -> Held | None:
        """The room of a pod that has a node, however it came by it, and is not over."""
        entry = view.rows(PODS).get(key)
        instance = self.place(view, key)
        if entry is None or instance is None:
            return None
        return Held(ask_of(view, entry), instance.id, entry.value.metadata.deleting)

    def place(self, view: View, key: str) -> Instance | None:
        """The Instance of a pod's node, until the pod is over."""
        entry = view.rows(PODS).get(key)
        if entry is None or not entry.value.spec.node_name or entry.value.terminal:
            return None
        return _instance(view, cluster_of(key), entry.value.spec.node_name)

    def sandboxes_on(self, view: View, instance: Instance) -> Sequence[str]:
        """The pods of an Instance's node that are not over, and those that are and wait for their
        agent to say that nothing is left of them."""
        if not instance.cluster.startswith(PREFIX):
            return ()
        found = view.rows(PODS).by("node", f"{cluster_of(instance.cluster)}/{instance.name}")
        return [
            entry.key
            for entry in found
            if not entry.value.terminal or entry.value.metadata.deleting
        ]

    def bind(self, view: View, ask: Ask, instance: Instance, taken: set[str], now: float) -> Parts:
        """The pod on its node, with an address. Raises Conflict when it no longer waits,
        CallerFault when every address of the subnet is taken."""
        entry = view.rows(PODS).get(ask.key)
        if entry is None or not wants_place(entry.value) or entry.value.metadata.uid != ask.uid:
            raise Conflict(f"{ask.key} no longer waits for a node")
        guards: list[Guard | Exists] = [Guard(entry.key, entry.version)]
        writes: list[Put | Delete] = []
        if not entry.value.spec.host_network:
            try:
                plan = self._planner(view).plan_address(
                    instance.subnet, holder_of(entry), chance=self._links.chance, avoid=taken
                )
            except NoFreeAddresses as error:
                raise CallerFault(str(error)) from error
            taken.add(plan.address)
            guards += plan.guards
            writes += plan.writes
        writes.append(Put(entry.key, _bound(entry, instance.name, now)))
        writes.append(Put(*scheduled_event(entry, instance.name, self._links.chance, now)))
        return Parts(tuple(guards), tuple(writes))

    def refuse(self, view: View, unplaced: Unplaced, now: float) -> Plan:
        """Condition and event that say why."""
        entry = view.rows(PODS).get(unplaced.ask.key)
        if entry is None or not wants_place(entry.value):
            return NOTHING
        message = message_of(view, unplaced)
        return Plan(tuple(unschedulable_calls(view, entry, message, now)))

    # Preemption

    def nominated(self, view: View, key: str) -> str:
        """The Instance of a waiting pod's nominated node."""
        entry = view.rows(PODS).get(key)
        name = entry.value.status.nominated_node_name if entry else ""
        found = _instance(view, cluster_of(key), name) if name else None
        return found.id if found else ""

    def budgets(self, view: View, ask: Ask) -> Sequence[Budget]:
        """Every PodDisruptionBudget of the cluster."""
        return preemption.budgets_of(view, cluster_of(ask.key))

    def started(self, view: View, key: str) -> float:
        """A pod's ``status.startTime``."""
        entry = view.rows(PODS).get(key)
        return instant(entry.value.status.start_time) if entry else 0.0

    def nominate(self, view: View, key: str, instance: str) -> Plan:
        """The pod's ``status.nominatedNodeName``."""
        return preemption.nominated(view, key, instance)

    def evict(self, view: View, ask: Ask, victim: str, instance: str, now: float) -> Plan:
        """Condition, deletion and event of a preempted pod."""
        return preemption.evicted(view, ask, victim, instance, now)

    # The feed

    def stakeholders(self, view: View, change: Change[Any]) -> Sequence[str]:
        """Pods that use a ConfigMap or Secret, and the pod whose address was just booked."""
        if change.key.startswith(ADDRESS_PREFIX):
            row = change.new or change.old
            return (row.value.holder.rpartition("@")[0],) if row else ()
        _, _, cluster, _, resource, place = change.key.split("/", 5)  # see ``kube.keys``
        index = "config-map" if resource == "configmaps" else "secret"
        return [entry.key for entry in view.rows(PODS).by(index, f"{cluster}/{place}")]

    def alters(self, change: Change[Any]) -> bool:
        """All but the status. A pod that is to go is told of every change: its agent answers
        with how it ended."""
        old, new = change.old, change.new
        if old is None or new is None or new.value.metadata.deleting or new.value.terminal:
            return True
        if old.value.spec.node_name != new.value.spec.node_name:
            return True
        before, after = old.value.metadata, new.value.metadata
        if before.generation and before.generation == after.generation:
            return bool(before != after)  # the specification is as it was
        return _outset(old.body) != _outset(new.body)

    async def assignment(self, view: View, key: str, told: str = "") -> Assignment | None:
        """The pod for its agent: to run, or to stop gracefully. One bound past the scheduler gets
        its address from the address controller; until then nothing is sent."""
        entry = view.rows(PODS).get(key)
        if entry is None or not entry.value.spec.node_name:
            return None
        pod = entry.value
        instance = _instance(view, cluster_of(key), pod.spec.node_name)
        if instance is None:
            return None
        if pod.metadata.deleting and pod.metadata.uid == told:
            grace_s = _grace_s(pod)
            if grace_s <= SHORT_GRACE_S:
                return _stop(entry, grace_s)
        held = [row.value for row in view.rows(ADDRESSES).by("holder", holder_of(entry))]
        if not held and not pod.spec.host_network and not pod.metadata.deleting:
            return None
        renewals: list[float] = []
        sources = self._sources(view, entry, instance, held, renewals)
        sandbox = compile_pod(entry.body, pod, key, instance.id, sources)
        fresh_until = min(renewals, default=0.0)
        if pod.metadata.deleting:
            stop = _stop(entry, _grace_s(pod))
            return replace(stop, sandbox=sandbox, fresh_until=fresh_until)
        return Assignment(
            uid=pod.metadata.uid,
            want="run",
            version=entry.version,
            sandbox=sandbox,
            grace_s=_grace_s(pod),
            fresh_until=fresh_until,
        )

    def _sources(
        self,
        view: View,
        entry: Entry[Pod],
        instance: Instance,
        held: Sequence[HeldAddress],
        renewals: list[float],
    ) -> Sources:
        """What the pod's compilation may look up; ``renewals`` gets when its tokens age."""
        cluster, namespace = cluster_of(entry.key), entry.value.metadata.namespace
        node = node_of(view, cluster, instance.name)
        master = object_key(cluster, "", "services", "default", "kubernetes")
        found = view.rows(SERVICES).get(master)

        def stored(table: Table[Any], resource: str, name: str) -> Json | None:
            row = view.rows(table).get(object_key(cluster, "", resource, namespace, name))
            return _read(row.body) if row else None

        def token(request: TokenRequest) -> str:
            if instance.simulated:  # nobody reads it, and a signature is what costs most here
                return ""
            text, renew_at = self._tokens(request)
            renewals.append(renew_at)
            return text

        return Sources(
            config_maps=lambda name: stored(CONFIG_MAPS, "configmaps", name),
            secrets=lambda name: stored(SECRETS, "secrets", name),
            handlers=lambda name: _handler(view, cluster, name),
            tokens=token,
            services=[
                row.value for row in view.rows(SERVICES).by("namespace", f"{cluster}/{namespace}")
            ],
            master=found.value if found else None,
            address=held[0].address if held else "",
            mac=mac_of(held[0].vpc, held[0].address) if held else "",
            vpc=held[0].vpc if held else "",
            host_address=instance.address,
            allocatable=node.value.status.allocatable if node else {},
            cluster_dns=self._links.cluster_dns(cluster),
        )

    # Reports

    async def report(
        self, view: View, statuses: Sequence[SandboxStatus], events: Sequence[NodeEvent]
    ) -> None:
        """Take in what agents say, in as few transactions as it takes."""
        await self._reports.take(view, statuses, events)

    # Traffic

    def ranges(self, view: View) -> tuple[ServiceRange, ...]:
        """Every cluster's Services, in each network its Instances are in."""
        links = self._links
        return tuple(
            ServiceRange(
                vpc,
                links.service_range(cluster),
                links.cluster_dns(cluster),
                links.api_port(cluster),
            )
            for cluster, networks in _networks(view).items()
            for vpc in networks
        )

    def vips(self, view: View) -> tuple[Vip, ...]:
        """Every cluster's Services, in each network its Instances are in."""
        found: list[Vip] = []
        for cluster, networks in _networks(view).items():
            for vpc, nodes in networks.items():
                found += services.vips(view, cluster, vpc, nodes)
        return tuple(found)

    def zones(self, view: View) -> tuple[ZoneRecord, ...]:
        """Every cluster's names, each at its own name server."""
        found: list[ZoneRecord] = []
        for cluster in _networks(view):
            own = self._links.cluster_dns(cluster)
            for server in (own, *self._links.guest_dns(cluster)):
                found += services.zones(view, cluster, server=server)
        return tuple(found)


@lru_cache(maxsize=256)
def _read(body: bytes) -> Json:
    """A stored object that many pods are compiled from, for who only reads it."""
    found: Json = orjson.loads(body)
    return found


def _instance(view: View, cluster: str, node: str) -> Instance | None:
    found = view.rows(compute.INSTANCES).by("name", f"{PREFIX}{cluster}/{node}")
    return found[0].value if found else None


def _grace_s(pod: Pod) -> int:
    """How long a pod has to end, in seconds."""
    given = pod.metadata.deletion_grace_period_seconds
    return pod.spec.termination_grace_period_seconds if given is None else given


def _stop(entry: Entry[Pod], grace_s: int) -> Assignment:
    """The word that a pod is to end, for an agent that knows the rest of it."""
    meta = entry.value.metadata
    since = instant(meta.deletion_timestamp) - grace_s
    return Assignment(meta.uid, "stop", entry.version, grace_s=grace_s, since=since)


def _handler(view: View, cluster: str, name: str) -> str:
    """The handler of a RuntimeClass; a class that has gone since names itself."""
    key = object_key(cluster, "node.k8s.io", "runtimeclasses", "", name)
    entry = view.rows(OBJECTS).get(key) if name else None
    return str(orjson.loads(entry.body).get("handler", name)) if entry else name


def _networks(view: View) -> Mapping[str, dict[str, list[NodePlace]]]:
    """The VPCs of every Kubernetes cluster that has Instances, and which of them are there: those
    that have an address apart from their pods'. Nobody is on simulated ones."""
    planner = NetworkPlanner(view)
    found: dict[str, dict[str, list[NodePlace]]] = {}
    for cluster in view.rows(compute.INSTANCES).values_of("real"):
        if not cluster.startswith(PREFIX):
            continue
        networks = found.setdefault(cluster_of(cluster), {})
        for instance in compute.real_instances_of(view, cluster):
            subnet = planner.subnet(instance.subnet)
            if subnet is None:
                continue
            nodes = networks.setdefault(subnet.vpc, [])
            if instance.purchase != "fargate" and instance.address:
                nodes.append(NodePlace(instance.name, instance.address))
    return found


def _outset(body: bytes) -> tuple[Any, dict[str, Any]]:
    """A stored pod without its status and what every write changes."""
    pod = orjson.loads(body)
    metadata = pod["metadata"]
    for name in ("managedFields", "resourceVersion"):
        metadata.pop(name, None)
    return pod["spec"], metadata


def _bound(entry: Entry[Pod], node: str, now: float) -> bytes:
    """The stored pod with its node and condition PodScheduled=True. Only the parts that change
    are read and written: a batch does this for thousands."""
    pod = members.decode(entry.body)
    spec = bytes(pod["spec"])
    if _NODE_NAME in spec:  # an empty name, or a mention of the field elsewhere
        pod["spec"] = msgspec.Raw(orjson.dumps({**orjson.loads(spec), "nodeName": node}))
    else:
        pod["spec"] = msgspec.Raw(b"{" + _NODE_NAME + b":" + orjson.dumps(node) + b"," + spec[1:])
    status = orjson.loads(bytes(pod["status"])) if "status" in pod else {}
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastTransitionTime": iso8601(now),
    }
    others = [item for item in status.get("conditions") or () if item["type"] != "PodScheduled"]
    status["conditions"] = [*others, scheduled]
    status.pop("nominatedNodeName", None)
    text = orjson.dumps(status)
    pod["status"] = msgspec.Raw(text)
    body, before = whole.encode(pod), entry.value
    on_node = replace(before, spec=replace(before.spec, node_name=node))
    handed_over(Pod).tell_status(body, on_node, text)
    return body
