"""The tables of a view that hold Kubernetes objects, and by what they are found.

One view serves every cluster: index values begin with the cluster, as keys do. Declared here
once; the assembly gives ``TABLES`` to its View.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from proa.kube import objects
from proa.kube.batch_objects import CronJob, Job
from proa.kube.budget_objects import Budget
from proa.kube.decoding import decoder, handed_over
from proa.kube.event_objects import Event, decode_event
from proa.kube.host_ports import HostPorts, decode_host_ports
from proa.kube.keys import is_resource, object_key, shelf_of
from proa.kube.objects import Container, Meta, Object, Pod
from proa.kube.set_objects import DaemonSet, Revision, StatefulSet
from proa.reconcile.view import Entry, Table, View

O = TypeVar("O", bound=Object)  # noqa: E741
PREFIX = "/kube/"
Index = Callable[[str, Any], Iterable[str]]


def cluster_of(key: str) -> str:
    """The cluster's uid out of any key below ``PREFIX``."""
    return key[6 : key.index("/", 6)]


def _by_namespace(key: str, value: Any) -> Iterable[str]:
    return (f"{cluster_of(key)}/{value.metadata.namespace}",)


def _by_owner(key: str, value: Any) -> Iterable[str]:
    owners = value.metadata.owner_references
    return tuple(f"{cluster_of(key)}/{owner.uid}" for owner in owners) if owners else ()


def _by_controller(key: str, value: Any) -> Iterable[str]:
    owner = value.metadata.controller
    return (f"{cluster_of(key)}/{owner.uid}",) if owner else ()


def _by_standing(key: str, pod: Pod) -> Iterable[str]:
    owner = pod.metadata.controller
    return (f"{cluster_of(key)}/{owner.uid}/{pod.standing}",) if owner else ()


def _by_family(key: str, pod: Pod) -> Iterable[str]:
    owner = pod.metadata.controller
    return (family(cluster_of(key), owner.uid, pod.metadata.labels),) if owner else ()


def family(cluster: str, owner: str, labels: Mapping[str, str]) -> str:
    """The value under which index "family" files a controller's pods that have these labels, all
    of them and no others. An owner's uid may hold any letter, so it stands last, and after one that
    no label holds."""
    text = ",".join([f"{name}={value}" for name, value in sorted(labels.items())])
    return f"{cluster}/{text} {owner}"


def _by_uid(key: str, value: Any) -> Iterable[str]:
    return (f"{cluster_of(key)}/{value.metadata.uid}",)


def _orphans(key: str, value: Any) -> Iterable[str]:
    return () if value.metadata.controller else _by_namespace(key, value)


def _by_label(key: str, value: Any) -> Iterable[str]:
    cluster, namespace = cluster_of(key), value.metadata.namespace
    return tuple(
        label_value(cluster, namespace, name, text) for name, text in value.metadata.labels.items()
    )


def label_value(cluster: str, namespace: str, label: str, text: str) -> str:
    """The value under which index "label" files objects of a namespace."""
    return f"{cluster}/{namespace}/{label}={text}"


def _by_selected_label(key: str, service: objects.Service) -> Iterable[str]:
    """One of the labels that a selected pod has."""
    selector = service.spec.selector
    if not selector:
        return ()
    place = cluster_of(key), service.metadata.namespace
    return (label_value(*place, *min(selector.items())),)


def _selecting(key: str, service: objects.Service) -> Iterable[str]:
    return _by_namespace(key, service) if service.spec.selector else ()


def _by_service(key: str, value: Any) -> Iterable[str]:
    name = value.metadata.labels.get("kubernetes.io/service-name", "")
    return (f"{cluster_of(key)}/{value.metadata.namespace}/{name}",) if name else ()


def _by_node(key: str, value: Pod) -> Iterable[str]:
    return (f"{cluster_of(key)}/{value.spec.node_name}",) if value.spec.node_name else ()


def _by_object(_key: str, event: Event) -> Iterable[str]:
    return (event.about_uid,)


def _config_maps(key: str, pod: Pod) -> Iterable[str]:
    return _references(key, pod, "config_map")


def _secrets(key: str, pod: Pod) -> Iterable[str]:
    return _references(key, pod, "secret")


def _references(key: str, pod: Pod, kind: str) -> Iterable[str]:
    """The ConfigMaps or Secrets that a pod's compiled form depends on."""
    names: dict[str, None] = {}
    if not pod.spec.volumes and not any(c.env or c.env_from for c in _containers(pod)):
        return ()

    def add(name: str | None) -> None:
        if name:
            names[f"{cluster_of(key)}/{pod.metadata.namespace}/{name}"] = None

    for container in _containers(pod):
        for variable in container.env:
            if variable.value_from is not None:
                reference = getattr(variable.value_from, f"{kind}_key_ref")
                add(reference and reference.name)
        for source in container.env_from:
            reference = getattr(source, f"{kind}_ref")
            add(reference and reference.name)
    for volume in pod.spec.volumes:
        if kind == "config_map" and volume.config_map is not None:
            add(volume.config_map.name)
        if kind == "secret" and volume.secret is not None:
            add(volume.secret.secret_name)
        for item in volume.projected.sources if volume.projected else ():
            reference = getattr(item, kind)
            add(reference and reference.name)
    return tuple(names)


def _containers(pod: Pod) -> Sequence[Container]:
    spec = pod.spec
    return (*spec.init_containers, *spec.containers) if spec.init_containers else spec.containers


_IDENTITY = ("metadata.uid",)  # all there is to look at of what never changes in an object's life
_OWNERS = ("metadata.owner_references",)
_LABELS = ("metadata.labels",)
# Whose an object is, and what decides whether it goes.
LIFE = ("metadata.owner_references", "metadata.deletion_timestamp", "metadata.finalizers")
_LOOKED_AT: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("namespace", "uid", "any-uid"), _IDENTITY),
    **dict.fromkeys(("owner", "controller", "orphans"), _OWNERS),
    **dict.fromkeys(("label", "service"), _LABELS),
    # What a pod's volumes and environment refer to cannot be changed.
    **dict.fromkeys(("config-map", "secret"), _IDENTITY),
    "object": ("about_uid",),
    "family": (*_OWNERS, *_LABELS),
    "standing": (*_OWNERS, "standing"),
    "node": ("spec.node_name",),
    "ended": ("status.phase",),
    "ending": ("metadata.deletion_timestamp",),
}


_FOUND_BY_KEY: Mapping[str, Index] = {}
_placed: Mapping[str, Index] = {"namespace": _by_namespace, "uid": _by_uid}
_claimed: Mapping[str, Index] = {"controller": _by_controller, "orphans": _orphans}


_CHANGING = (Pod, objects.ReplicaSet, objects.Deployment)  # most of all that is written


def _table(
    group: str, resource: str, kind: type[O], indexes: Mapping[str, Index] = _FOUND_BY_KEY
) -> Table[O]:
    return Table(
        f"kube-{resource}",
        PREFIX,
        handed_over(kind) if kind in _CHANGING else decoder(kind),
        lambda key: is_resource(key, group, resource),
        indexes,
        _LOOKED_AT,
        by_parent=True,
    )


def _is_object(key: str) -> bool:
    return key.count("/") == 6


OBJECTS: Table[Object] = Table(
    "kube-objects",
    PREFIX,
    decoder(Object),
    _is_object,
    {"uid": _by_uid, "owner": _by_owner},
    _LOOKED_AT,
    accepts=Object,
    shelf=shelf_of,
    by_parent=True,
)

PODS: Table[Pod] = _table(
    "",
    "pods",
    Pod,
    {
        **_claimed,
        "namespace": _by_namespace,
        "label": _by_label,
        "family": _by_family,
        "standing": _by_standing,
        "node": _by_node,
        "ended": lambda key, pod: (cluster_of(key),) if pod.terminal else (),
        "any-uid": lambda _key, pod: (pod.metadata.uid,),
        "config-map": _config_maps,
        "secret": _secrets,
    },
)
HOST_PORTS: Table[HostPorts] = Table(
    "kube-host-ports",
    PREFIX,
    decode_host_ports,
    lambda key: is_resource(key, "", "pods"),
    {"cluster": lambda key, _found: (cluster_of(key),)},
    by_parent=True,
)
REPLICA_SETS = _table("apps", "replicasets", objects.ReplicaSet, {**_placed, **_claimed})
DEPLOYMENTS = _table("apps", "deployments", objects.Deployment, _placed)
STATEFUL_SETS = _table("apps", "statefulsets", StatefulSet, _placed)
DAEMON_SETS = _table("apps", "daemonsets", DaemonSet, _placed)
REVISIONS = _table("apps", "controllerrevisions", Revision, {"controller": _by_controller})
CLAIMS = _table("", "persistentvolumeclaims", objects.Object)
JOBS = _table("batch", "jobs", Job, {**_placed, **_claimed})
CRON_JOBS = _table("batch", "cronjobs", CronJob, _placed)
BUDGETS = _table("policy", "poddisruptionbudgets", Budget, {"namespace": _by_namespace})
SERVICES = _table(
    "",
    "services",
    objects.Service,
    {"namespace": _by_namespace, "selected": _by_selected_label, "selecting": _selecting},
)
ENDPOINT_SLICES = _table(
    "discovery.k8s.io", "endpointslices", objects.EndpointSlice, {"service": _by_service}
)
ENDPOINTS = _table("", "endpoints", objects.Object)
NODES = _table("", "nodes", objects.Node)
LEASES = _table("coordination.k8s.io", "leases", objects.Lease)
NAMESPACES = _table(
    "",
    "namespaces",
    objects.Namespace,
    {"ending": lambda key, item: (cluster_of(key),) if item.metadata.deleting else ()},
)
SERVICE_ACCOUNTS = _table("", "serviceaccounts", objects.Object)
CONFIG_MAPS = _table("", "configmaps", objects.ConfigMap)
SECRETS = _table("", "secrets", objects.Secret)
EVENTS: Table[Event] = Table(
    "kube-events",
    PREFIX,
    decode_event,
    lambda key: is_resource(key, "", "events"),
    {"object": _by_object},
    _LOOKED_AT,
    by_parent=True,
)

TABLES: tuple[Table[Any], ...] = (
    PODS,
    HOST_PORTS,
    REPLICA_SETS,
    DEPLOYMENTS,
    STATEFUL_SETS,
    DAEMON_SETS,
    REVISIONS,
    CLAIMS,
    JOBS,
    CRON_JOBS,
    BUDGETS,
    SERVICES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NODES,
    LEASES,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SECRETS,
    EVENTS,
    OBJECTS,  # last: it shares the rows of the others
)


def namespace_of(view: View, cluster: str, name: str) -> Entry[objects.Namespace] | None:
    """A namespace by name."""
    return view.rows(NAMESPACES).get(object_key(cluster, "", "namespaces", "", name))


def node_of(view: View, cluster: str, name: str) -> Entry[objects.Node] | None:
    """A node by name."""
    return view.rows(NODES).get(object_key(cluster, "", "nodes", "", name))


def selected_pods(view: View, cluster: str, namespace: str, labels: Mapping[str, str]) -> list[
    Entry[Pod]
]:  # fmt: skip
    """The pods of a namespace that carry all ``labels``; none for an empty selector."""
    if not labels:
        return []
    first = min(labels.items())
    found = view.rows(PODS).by("label", label_value(cluster, namespace, *first))
    wanted = labels.items()
    return [entry for entry in found if wanted <= entry.value.metadata.labels.items()]


def any_selects(view: View, cluster: str, namespace: str) -> bool:
    """Whether a namespace has a Service with a selector."""
    return view.rows(SERVICES).count("selecting", f"{cluster}/{namespace}") > 0


def selecting_services(
    view: View, cluster: str, namespace: str, labels: Mapping[str, str]
) -> list[Entry[objects.Service]]:
    """The Services of a namespace whose selectors pods with these labels meet."""
    rows, there = view.rows(SERVICES), labels.items()
    return [
        entry
        for name, text in there
        for entry in rows.by("selected", label_value(cluster, namespace, name, text))
        if entry.value.spec.selector.items() <= there
    ]


def describe(meta: Meta) -> str:
    """namespace/name, or the name alone."""
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
