"""Subresources that are more than a part of their object: scale, binding, eviction."""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.clock import iso8601
from proa.base.http import Response
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import JSON, bad_request, modified, not_found
from proa.kube.api.options import WriteOptions, check_delete_options
from proa.kube.api.paths import Target
from proa.kube.api.writes import Writer, Written
from proa.kube.schema.kinds import Resource
from proa.kube.schema.selectors import label_selector_object


def scale_of(resource: Resource, obj: Json) -> Json:
    """autoscaling/v1 Scale of a workload."""
    metadata, spec = obj["metadata"], obj.get("spec", {})
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels", selector if resource.group == "" else {})
    keep = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in keep if key in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


async def set_scale(
    writer: Writer, resource: Resource, target: Target, scale: Json, options: WriteOptions
) -> Written:
    """Write the replicas of a Scale into its workload."""
    replicas = scale.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        raise bad_request("spec.replicas: Invalid value: must be greater than or equal to 0")
    version = scale.get("metadata", {}).get("resourceVersion")

    def edit(obj: Json) -> Json:
        obj["spec"]["replicas"] = replicas
        if version:
            obj["metadata"]["resourceVersion"] = version
        return obj

    return await writer.change(resource, target.namespace, target.name, options, edit)


async def bind(
    writer: Writer, resource: Resource, target: Target, body: Json, options: WriteOptions
) -> Written:
    """pods/binding: give a pod that has none its node."""
    node = (body.get("target") or {}).get("name")
    if not node:
        raise bad_request("target.name is required")

    def edit(pod: Json) -> Json:
        if pod["spec"].get("nodeName"):
            raise modified(resource, target.name)
        pod["spec"]["nodeName"] = node
        return pod

    return await writer.change(
        resource, target.namespace, target.name, options, edit, "binding", prune=False
    )


async def evict(
    api: Api, writer: Writer, resource: Resource, target: Target, body: Json, dry_run: bool
) -> Written:
    """pods/eviction: a deletion that respects PodDisruptionBudgets (429 where one forbids it)."""
    options = body.get("deleteOptions") or {}
    check_delete_options(options)
    await api.fresh()
    entry = api.entry(resource, target.namespace, target.name)
    if entry is None:
        raise not_found(resource, target.name)
    pod = orjson.loads(entry.body)
    on_trial = dry_run or bool(options.get("dryRun"))
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed", "Pending")
    if not over and not pod["metadata"].get("deletionTimestamp"):
        await _spend_budget(api, writer, target.namespace, pod, on_trial)
    if not on_trial and not (options.get("preconditions") or {}).get("resourceVersion"):
        await _mark_disrupted(api, writer, resource, target)
    return await writer.delete(resource, target.namespace, target.name, options, on_trial)


async def _mark_disrupted(api: Api, writer: Writer, resource: Resource, target: Target) -> None:
    """Condition DisruptionTarget, by which a Job's failure policy knows an eviction (KEP-3329)."""
    evicted = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": iso8601(api.clock.now()),
    }

    def edit(pod: Json) -> Json:
        status = pod.setdefault("status", {})
        if status.get("phase") not in ("Succeeded", "Failed"):
            known = status.get("conditions") or []
            others = [item for item in known if item["type"] != evicted["type"]]
            status["conditions"] = [*others, evicted]
        return pod

    await writer.change(resource, target.namespace, target.name, WriteOptions(), edit, "status")


async def _spend_budget(
    api: Api, writer: Writer, namespace: str, pod: Json, on_trial: bool
) -> None:
    """Take an eviction from the pod's budget, which may forbid it."""
    labels = pod["metadata"].get("labels") or {}
    resource = api.builtin("policy", "poddisruptionbudgets")
    budgets = []
    for entry in api.entries(resource, namespace):
        budget = orjson.loads(entry.body)
        selector = budget.get("spec", {}).get("selector")
        if selector is not None and label_selector_object(selector)(labels):
            budgets.append(budget)
    if len(budgets) > 1:
        raise ApiError(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support.",
        )
    if not budgets or _may_go_unready(budgets[0], pod):
        return
    name, now = pod["metadata"]["name"], iso8601(api.clock.now())

    def spend(budget: Json) -> Json:
        _check_budget(budget)
        status = budget["status"]
        status["disruptionsAllowed"] -= 1
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), name: now}
        if not status["disruptionsAllowed"]:
            for condition in status.get("conditions") or ():
                if condition["type"] == "DisruptionAllowed":
                    condition |= {"status": "False", "reason": "InsufficientPods"}
                    condition["lastTransitionTime"] = now
        return budget

    _check_budget(budgets[0])
    if not on_trial:
        name_of_budget = budgets[0]["metadata"]["name"]
        await writer.change(resource, namespace, name_of_budget, WriteOptions(), spend, "status")


def _may_go_unready(budget: Json, pod: Json) -> bool:
    """Whether a pod that is not ready may go without a look at the budget
    (unhealthyPodEvictionPolicy)."""
    conditions = pod.get("status", {}).get("conditions") or ()
    if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status", {})
    desired: int = status.get("desiredHealthy", 0)
    return desired > 0 and int(status.get("currentHealthy", 0)) >= desired


def _check_budget(budget: Json) -> None:
    meta, status = budget["metadata"], budget.get("status", {})
    name = meta["name"]
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        raise _over_budget(f"The disruption budget {name} is still being processed by the server.")
    if status.get("disruptionsAllowed", 0) > 0:
        return
    for condition in status.get("conditions") or ():
        if condition["type"] == "DisruptionAllowed" and condition.get("reason") == "SyncFailed":
            raise _over_budget(
                f"The disruption budget {name} does not allow evicting pods currently because it "
                f"failed sync: {condition.get('message', '')}"
            )
    raise _over_budget(
        f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and "
        f"has {status.get('currentHealthy', 0)} currently"
    )


def _over_budget(why: str) -> ApiError:
    return ApiError(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget", "message": why}]},
    )


def status_success(resource: Resource, obj: Json) -> Response:
    """The answer to a deletion that was carried out."""
    details: dict[str, Any] = {"name": obj["metadata"]["name"], "kind": resource.name}
    if resource.group:
        details["group"] = resource.group
    details["uid"] = obj["metadata"]["uid"]
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
    return Response(200, orjson.dumps(body), dict(JSON))


def created_success() -> Response:
    """The answer to a binding or an eviction."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    }
    return Response(201, orjson.dumps(body), dict(JSON))
