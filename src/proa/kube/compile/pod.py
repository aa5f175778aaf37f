"""compile_pod: from a Pod and what it refers to, the Sandbox that an agent runs. Pure.

Called by the hull's port each time the feed needs a pod's present form. Identity is (uid,
container, attempt): a compilation that differs restarts nothing.
"""

from __future__ import annotations

from typing import Any

from proa.base.clock import from_iso8601
from proa.kube.compile.files import blocked_all, volumes
from proa.kube.compile.requests import host_ports, pod_reserve, resources_of
from proa.kube.compile.sources import Json, Sources
from proa.kube.compile.template import Template, template_of
from proa.kube.decoding import members
from proa.kube.objects import Pod
from proa.kube.tables import PREFIX, cluster_of
from proa.model.sandbox import Dns, Network, Sandbox

RUNTIME = "runc"
_HOSTNAME_LIMIT = 63


def compile_pod(body: bytes, typed: Pod, key: str, instance: str, sources: Sources) -> Sandbox:
    """The Sandbox of a bound pod. ``body`` is the pod as it is stored, ``typed`` the projection of
    it, ``key`` its store key, ``instance`` the Instance's id. A reference that finds nothing
    blocks what needs it and names it; it does not raise."""
    template = template_of(bytes(members.decode(body)["spec"]))
    pod = _looked_at(template, typed)
    meta, spec = typed.metadata, pod["spec"]
    cluster = cluster_of(key)
    made, missing = volumes(pod, cluster, sources)
    problem = blocked_all(missing) or _no_runtime(spec, sources)
    created = meta.creation_timestamp
    made_of = template.container
    first = [made_of(pod, item, True, sources, problem) for item in _inits(spec)]
    main = [made_of(pod, item, False, sources, problem) for item in spec["containers"]]
    grace = spec.get("terminationGracePeriodSeconds")
    security = spec.get("securityContext") or {}
    whole = resources_of((spec.get("resources") or {}).get("limits") or {})
    return Sandbox(
        uid=meta.uid,
        name=meta.name,
        namespace=meta.namespace,
        key=key,
        instance=instance,
        containers=(*first, *main),
        skin="kube",
        cluster=f"{PREFIX}{cluster}/",
        network=_network(pod, sources),
        volumes=made,
        reserve=pod_reserve(typed),
        ports=host_ports(typed),
        grace_s=30 if grace is None else int(grace),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        share_pid=bool(spec.get("shareProcessNamespace")),
        fs_group=security.get("fsGroup"),
        sysctls=tuple((item["name"], item["value"]) for item in security.get("sysctls") or ()),
        cpu_quota=whole.cpu,
        memory_limit=whole.memory,
        labels=tuple(sorted(meta.labels.items())),
        created_at=from_iso8601(created) if created else 0.0,
        active_deadline_s=int(spec.get("activeDeadlineSeconds") or 0),
    )


def _looked_at(template: Template, typed: Pod) -> dict[str, Any]:
    """What a pod's compilation looks at of it: the specification and a few known metadata, for who
    wrote which field is the larger part of the rest."""
    meta = typed.metadata
    return {
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "labels": meta.labels,
            "annotations": meta.annotations,
        },
        "spec": {**template.spec, "nodeName": typed.spec.node_name},
    }


def _no_runtime(spec: Json, sources: Sources) -> str:
    """Why the pod's RuntimeClass cannot be had: there is one runtime."""
    handler = sources.handlers(spec.get("runtimeClassName") or "")
    if handler in ("", RUNTIME):
        return ""
    text = f'no runtime for "{handler}" is configured'
    return f"ContainerCreating: Failed to create pod sandbox: {text}"


def _inits(spec: Json) -> list[Json]:
    return list(spec.get("initContainers") or ())


def _network(pod: Json, sources: Sources) -> Network:
    spec, meta = pod["spec"], pod["metadata"]
    hosts = [
        (alias["ip"], tuple(alias.get("hostnames") or ()))
        for alias in spec.get("hostAliases") or ()
    ]
    dns = resolver(spec, meta.get("namespace", ""), sources)
    if spec.get("hostNetwork"):
        return Network(mode="host", dns=dns, hosts=tuple(hosts))
    hostname = (spec.get("hostname") or meta["name"])[:_HOSTNAME_LIMIT].rstrip("-.")
    if spec.get("subdomain"):
        domain = f"{meta.get('namespace', '')}.svc.{sources.cluster_domain}"
        full = f"{hostname}.{spec['subdomain']}.{domain}"
        if spec.get("setHostnameAsFQDN"):
            hostname = full
        else:
            hosts.insert(0, (sources.address, (full, hostname)))
    return Network(
        mode="vpc",
        vpc=sources.vpc,
        address=sources.address,
        mac=sources.mac,
        hostname=hostname,
        dns=dns,
        hosts=tuple(hosts),
    )


def resolver(spec: Json, namespace: str, sources: Sources) -> Dns:
    """resolv.conf by dnsPolicy and dnsConfig ("DNS for Services and Pods"). On the host's network
    ClusterFirst means the host's own."""
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    host = spec.get("hostNetwork") and policy == "ClusterFirst"
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and not host:
        domain = sources.cluster_domain
        servers = [sources.cluster_dns]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "ndots:5"}
    config = spec.get("dnsConfig") or {}
    servers += config.get("nameservers") or []
    searches += config.get("searches") or []
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    return Dns(
        tuple(dict.fromkeys(servers)), tuple(dict.fromkeys(searches)), tuple(options.values())
    )
