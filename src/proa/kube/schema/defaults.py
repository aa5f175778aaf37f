"""Defaults that kube-apiserver writes into objects it admits.

Constant ones stand in ``data/defaults.json`` by definition; those that depend on other fields are
the small functions below (each follows Kubernetes' ``SetDefaults_*`` of that name). A plan per
definition says which fields lead to anything that has defaults, so the walk visits nothing else.
The API calls ``apply_defaults`` on every object before it validates it.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import orjson

from proa.kube.schema.cache import SchemaCache, Shape
from proa.kube.schema.kinds import Resource

JSON = dict[str, Any]
Rule = Callable[[JSON], None]
MAX_INT32 = 2**31 - 1
RBAC_GROUP = "rbac.authorization.k8s.io"


@dataclass(slots=True)
class Plan:
    """What to do to objects of one definition, and below which of its fields to go on."""

    constants: list[tuple[str, Any]] = field(default_factory=list)
    rule: Rule | None = None
    below: list[tuple[str, Plan]] = field(default_factory=list)


def apply_defaults(resource: Resource, obj: JSON) -> None:
    """Fill in the defaults of an object, in place. Its types must be those of the schema."""
    if resource.schemas is not None:
        _fill(_plan(resource.schemas, resource.schema_ref), obj)


def _fill(plan: Plan, value: JSON) -> None:
    for name, default in plan.constants:
        if name not in value:
            value[name] = copy.deepcopy(default) if isinstance(default, dict | list) else default
    if plan.rule is not None:
        plan.rule(value)
    for name, inner in plan.below:
        item = value.get(name)
        if isinstance(item, dict):
            _fill(inner, item)
        elif item:
            for element in item:
                _fill(inner, element)


def _plan(schemas: SchemaCache, name: str) -> Plan:
    plan: Plan | None = schemas.default_plans.get(name)
    return plan if plan is not None else _build(schemas, name, {})


def _build(schemas: SchemaCache, name: str, open_plans: dict[str, Plan]) -> Plan:
    """Plans of a definition and all below it. A definition that contains itself (only
    JSONSchemaProps does) meets its own unfinished plan and stops there."""
    if name in open_plans:
        return open_plans[name]
    short = ".".join(name.split(".")[-3:])
    plan = Plan(list(_constants().get(short, {}).items()), RULES.get(short))
    open_plans[name] = plan
    for key, shape in schemas.definition(name).fields.items():
        inner: Shape | None = shape.item if shape.kind == "list" else shape
        if inner is None or inner.kind != "object" or key == "status":
            continue
        below = _build(schemas, inner.ref, open_plans)
        if below.constants or below.rule or below.below:
            plan.below.append((key, below))
    schemas.default_plans[name] = plan
    return plan


@lru_cache(maxsize=1)
def _constants() -> dict[str, JSON]:
    table: dict[str, JSON] = orjson.loads(
        files("proa.kube.data").joinpath("defaults.json").read_bytes()
    )
    return table


# Pods


def _pod(pod: JSON) -> None:
    spec = pod.get("spec")
    if spec is None:
        return
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        resources = container.get("resources", {})
        if limits := resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for name, amount in limits.items():
                requests.setdefault(name, amount)
    if spec.get("hostNetwork"):
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            for port in container.get("ports", ()):
                port.setdefault("hostPort", port.get("containerPort"))


def _pod_spec(spec: JSON) -> None:
    """The deprecated twin of serviceAccountName always says the same."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _container(container: JSON) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = _pull_policy(container.get("image", ""))


def _image_volume(volume: JSON) -> None:
    if not volume.get("pullPolicy"):
        volume["pullPolicy"] = _pull_policy(volume.get("reference", ""))


def _pull_policy(image: str) -> str:
    """Always for the tag ``latest``, which is also meant where there is neither tag nor digest."""
    name, _, digest = image.partition("@")
    tag = name.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and not digest) else "IfNotPresent"


def _volume(volume: JSON) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}


# Workloads


def _rolling(value: JSON) -> None:
    if value.get("type") == "RollingUpdate" and not value.get("rollingUpdate"):
        value["rollingUpdate"] = {}


def _stateful_set_spec(spec: JSON) -> None:
    for claim in spec.get("volumeClaimTemplates", ()):
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")


def _claim(claim: JSON) -> None:
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def _replication_controller(controller: JSON) -> None:
    spec = controller.get("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        metadata = controller.setdefault("metadata", {})
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)


def _job(job: JSON) -> None:
    spec = job.get("spec")
    if spec is None:
        return
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", replacement)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _scaling_behavior(behavior: JSON) -> None:
    constants = _constants()["autoscaling.v2.HorizontalPodAutoscalerBehavior"]
    for direction, defaults in constants.items():
        for name, default in defaults.items():
            behavior[direction].setdefault(name, copy.deepcopy(default))


# Services and networks


def _service_spec(spec: JSON) -> None:
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    kind = spec["type"]
    outside = kind in ("NodePort", "LoadBalancer")
    if outside or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if outside or kind == "ClusterIP":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _service_port(port: JSON) -> None:
    if port.get("targetPort") in (None, 0, "") and "port" in port:
        port["targetPort"] = port["port"]


def _network_policy_spec(spec: JSON) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    spec.setdefault("podSelector", {})


# The rest


def _namespace(namespace: JSON) -> None:
    metadata = namespace.setdefault("metadata", {})
    if name := metadata.get("name"):
        metadata.setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", name)
    namespace.setdefault("status", {}).setdefault("phase", "Active")


def _limit_range_item(item: JSON) -> None:
    if item.get("type") != "Container":
        return
    default = {**item.get("max", {}), **item.get("default", {})}
    request = {**item.get("min", {}), **default, **item.get("defaultRequest", {})}
    if default:
        item["default"] = default
    if request:
        item["defaultRequest"] = request


def _subject(subject: JSON) -> None:
    if subject.get("kind") in ("User", "Group"):
        subject.setdefault("apiGroup", RBAC_GROUP)


def _custom_names(names: JSON) -> None:
    kind = names.get("kind", "")
    if not names.get("singular"):
        names["singular"] = kind.lower()
    if not names.get("listKind"):
        names["listKind"] = f"{kind}List"


def _secret(secret: JSON) -> None:
    """What was written as text becomes data; a server never shows stringData."""
    texts = secret.pop("stringData", None)
    if texts:
        data = secret.setdefault("data", {})
        for key, text in texts.items():
            data[key] = base64.b64encode(text.encode()).decode()


def _device_request(request: JSON) -> None:
    if request.get("allocationMode") == "ExactCount":
        request.setdefault("count", 1)


RULES: dict[str, Rule] = {
    "core.v1.Pod": _pod,
    "core.v1.PodSpec": _pod_spec,
    "core.v1.Container": _container,
    "core.v1.EphemeralContainer": _container,
    "core.v1.ImageVolumeSource": _image_volume,
    "core.v1.Volume": _volume,
    "core.v1.ReplicationController": _replication_controller,
    "core.v1.ServiceSpec": _service_spec,
    "core.v1.ServicePort": _service_port,
    "core.v1.Namespace": _namespace,
    "core.v1.Secret": _secret,
    "core.v1.PersistentVolumeClaim": _claim,
    "core.v1.PersistentVolume": _claim,
    "core.v1.LimitRangeItem": _limit_range_item,
    "apps.v1.DeploymentStrategy": _rolling,
    "apps.v1.DaemonSetUpdateStrategy": _rolling,
    "apps.v1.StatefulSetUpdateStrategy": _rolling,
    "apps.v1.StatefulSetSpec": _stateful_set_spec,
    "batch.v1.Job": _job,
    "autoscaling.v2.HorizontalPodAutoscalerBehavior": _scaling_behavior,
    "networking.v1.NetworkPolicySpec": _network_policy_spec,
    "rbac.v1.Subject": _subject,
    "apiextensions.v1.CustomResourceDefinitionNames": _custom_names,
    "resource.v1.ExactDeviceRequest": _device_request,
    "resource.v1.DeviceSubRequest": _device_request,
}
