"""What is scheduled: the workloads of kube-scheduler's performance suite (scheduler_perf), by name.

Sizes, shapes of pods and thresholds (``limit``, the least average of pods a second that its CI
accepts, on 5,000 nodes where nothing else is said) are those of Kubernetes 1.36's
``performance-config.yaml``, as the project's notes on figures to beat have them. Everything here
is data: ``scheduling`` plays it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from proa.base.quantity import bytes_of, cpu_of
from proa.model.host import Host
from proa.model.resources import Resources

Json = dict[str, Any]
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
MEASURED, BEFORE = "measured", "before"  # the two namespaces that pods are in
TARGET = "$target"  # stands in a spec for the name of the target's Node
LOW, HIGH = "bench-low", "bench-high"  # PriorityClasses
_POOL = Resources(cpu_of("4"), bytes_of("32Gi"), bytes_of("100Gi"), 110)
_TARGET_POOL = Resources(cpu_of("64"), bytes_of("64Gi"), bytes_of("100Gi"), 90_000)


@dataclass(slots=True, frozen=True)
class Pods:
    """``count`` pods of a spec and labels; ``waits`` is whether they find a place at all."""

    spec: Json
    count: int
    labels: tuple[tuple[str, str], ...] = ()
    waits: bool = False


@dataclass(slots=True, frozen=True)
class Workload:
    """``before`` is there when the measurement begins. ``zones`` are given to the nodes in turn."""

    name: str
    limit: int  # pods/s; 0: the peer has none
    measured: Pods
    before: tuple[Pods, ...] = ()
    nodes: int = 5000
    zones: tuple[str, ...] = ("zone1",)
    target: bool = False  # one more node, which daemons' pods are for
    tainted: int = 0  # of the nodes, how many pods keep away from
    churns: bool = False  # a node, a pod without room and a Service come and go all the while

    def hosts(self, cluster: str) -> list[Host]:
        """The machines behind the nodes of a cluster ("eks/NAME")."""
        target = Host(
            "target",
            "target",
            pool=_TARGET_POOL,
            simulated=True,
            clusters=(cluster,),
            labels=((ZONE, self.zones[0]), ("bench/target", "yes")),
        )
        own = [self._host(number, cluster) for number in range(self.nodes)]
        return [*own, target] if self.target else own

    def _host(self, number: int, cluster: str) -> Host:
        return self.host(f"node-{number:05}", cluster, number)

    def host(self, id: str, cluster: str, number: int = 0) -> Host:
        """The machine behind one node."""
        zone = self.zones[number % len(self.zones)]
        taints = (("reserved", "yes", "NoSchedule"),) if number < self.tainted else ()
        return Host(
            id,
            id,
            pool=_POOL,
            simulated=True,
            clusters=(cluster,),
            labels=((ZONE, zone),),
            taints=taints,
        )


def _spec(cpu: str = "100m", memory: str = "500Mi", **more: Any) -> Json:
    requests = {"cpu": cpu, "memory": memory}
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": 80}],
        "resources": {"requests": requests, "limits": requests},
    }
    return {"containers": [container], **more}


def _term(key: str, color: str) -> Json:
    return {
        "labelSelector": {"matchLabels": {"color": color}},
        "topologyKey": key,
        "namespaces": [MEASURED, BEFORE],
    }


def _attracted(kind: str, key: str, color: str, preferred: bool = False) -> Json:
    """A spec whose pods want to be near (podAffinity) or far from (podAntiAffinity) their like."""
    term = _term(key, color)
    if preferred:
        weighed = [{"weight": 1, "podAffinityTerm": term}]
        return _spec(affinity={kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighed}})
    return _spec(affinity={kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


def _by_namespaces(kind: str, key: str, color: str) -> Json:
    spec = _attracted(kind, key, color)
    term = spec["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    del term["namespaces"]
    term["namespaceSelector"] = {"matchLabels": {"team": "devops"}}
    return spec


def _spread(when: str, color: str, key: str = ZONE, skew: int = 5, **more: Any) -> Json:
    constraint = {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"color": color}},
        **more,
    }
    return _spec(topologySpreadConstraints=[constraint])


def _required(expression: Json, field: str = "matchExpressions") -> Json:
    terms = {"nodeSelectorTerms": [{field: [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _color(name: str) -> tuple[tuple[str, str], ...]:
    return (("color", name),)


_IN_ZONES = _required({"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]})
_ON_TARGET = _required(
    {"key": "metadata.name", "operator": "In", "values": [TARGET]}, "matchFields"
)
_MOONS = ("moon-1", "moon-2", "moon-3")
_PLAIN = _spec()
_AFFINE = _attracted("podAffinity", ZONE, "blue")
_AVERSE = _attracted("podAntiAffinity", HOSTNAME, "green")
_FOND = _attracted("podAffinity", HOSTNAME, "red", preferred=True)
_SHY = _attracted("podAntiAffinity", HOSTNAME, "yellow", preferred=True)


def _mixed() -> tuple[Pods, ...]:
    return (
        Pods(_PLAIN, 2000),
        Pods(_AFFINE, 2000, _color("blue")),
        Pods(_AVERSE, 2000, _color("green")),
        Pods(_FOND, 2000, _color("red")),
        Pods(_SHY, 2000, _color("yellow")),
    )


def _ranked(cpu: str, priority_class: str) -> Json:
    """A spec that preempts, or whose pods leave at once when they are preempted."""
    more = {"priorityClassName": priority_class, "terminationGracePeriodSeconds": 0}
    return _spec(cpu=cpu, memory="500Mi", **more)


_LARGE = _spec(cpu="9", memory="500Mi")
CHURNING = _ranked("9", HIGH)  # of the pod that comes and goes
WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("basic", 270, Pods(_PLAIN, 10_000), (Pods(_PLAIN, 1000),)),
        Workload(
            "node-affinity",
            220,
            Pods(_spec(affinity=_IN_ZONES), 10_000),
            (Pods(_spec(affinity=_IN_ZONES), 5000),),
        ),
        Workload(
            "topology-spreading",
            85,
            Pods(_spread("DoNotSchedule", "blue"), 5000, _color("blue")),
            (Pods(_PLAIN, 5000),),
            zones=_MOONS,
        ),
        Workload(
            "preferred-topology-spreading",
            125,
            Pods(_spread("ScheduleAnyway", "blue"), 5000, _color("blue")),
            (Pods(_PLAIN, 5000),),
            zones=_MOONS,
        ),
        Workload(
            "pod-affinity",
            35,
            Pods(_AFFINE, 5000, _color("blue")),
            (Pods(_AFFINE, 5000, _color("blue")),),
        ),
        Workload(
            "pod-anti-affinity",
            60,
            Pods(_AVERSE, 2000, _color("green")),
            (Pods(_AVERSE, 1000, _color("green")),),
        ),
        Workload(
            "matching-anti-affinity",
            600,
            Pods(_PLAIN, 5000, _color("green")),
            (Pods(_AVERSE, 1000, _color("green")),),
        ),
        Workload(
            "preferred-pod-affinity",
            90,
            Pods(_FOND, 5000, _color("red")),
            (Pods(_FOND, 5000, _color("red")),),
        ),
        Workload(
            "preferred-pod-anti-affinity",
            90,
            Pods(_SHY, 5000, _color("yellow")),
            (Pods(_SHY, 5000, _color("yellow")),),
        ),
        Workload(
            "anti-affinity-by-namespaces",
            24,
            Pods(_by_namespaces("podAntiAffinity", HOSTNAME, "green"), 2000, _color("green")),
            (Pods(_by_namespaces("podAntiAffinity", HOSTNAME, "green"), 4000, _color("green")),),
            nodes=6000,
        ),
        Workload(
            "affinity-by-namespaces",
            35,
            Pods(_by_namespaces("podAffinity", ZONE, "blue"), 2000, _color("blue")),
            (Pods(_by_namespaces("podAffinity", ZONE, "blue"), 4000, _color("blue")),),
        ),
        Workload("mixed-base-pods", 140, Pods(_PLAIN, 5000), _mixed()),
        Workload(
            "unschedulable", 140, Pods(_PLAIN, 10_000), (Pods(_LARGE, 100, waits=True),)
        ),
        Workload("mixed-churn", 265, Pods(_PLAIN, 10_000), churns=True),
        Workload(
            "preemption",
            160,
            Pods(_ranked("3", HIGH), 5000),
            (Pods(_ranked("900m", LOW), 20_000),),
        ),
        Workload(
            "daemonset",
            390,
            Pods({"containers": [{"name": "pause", "image": "pause"}], "affinity": _ON_TARGET},
                 30_000),
            nodes=15_000,
            target=True,
        ),
        Workload(
            "gated",
            130,
            Pods(_spec(cpu="1m", memory="1Mi"), 10_000),
            (Pods(_spec(schedulingGates=[{"name": "bench"}]), 10_000, waits=True),),
            nodes=1,
            target=True,
        ),
        Workload(
            "node-inclusion-policy",
            68,
            Pods(
                _spread("DoNotSchedule", "blue", HOSTNAME, 1, nodeTaintsPolicy="Honor"),
                4000,
                _color("blue"),
            ),
            tainted=1000,
        ),
    )
}  # fmt: skip


def sized(workload: Workload, nodes: int, pods: int) -> Workload:
    """The workload with other numbers of nodes and of measured pods; 0 keeps its own. What is
    there before shrinks or grows with the nodes."""
    count = nodes or workload.nodes
    before = tuple(
        replace(item, count=max(1, item.count * count // workload.nodes))
        for item in workload.before
    )
    measured = replace(workload.measured, count=pods or workload.measured.count)
    return replace(workload, nodes=count, before=before, measured=measured)
