"""Workloads under the Kubernetes API, drawn from chance. Part of ``fuzz``, which see."""

from __future__ import annotations

from typing import Any

from proa.sim.fuzz_desk import Desk, Json

APPS = "/apis/apps/v1/namespaces/default"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_BAD: tuple[Json, ...] = (
    {"pull_error": "manifest unknown"},
    {"start_error": "no such file"},
    {"runs_s": 0.3, "exit_code": 1},
)


def pod_template(desk: Desk, name: str, image: str) -> Json:
    chance = desk.chance
    container: Json = {
        "name": name,
        "image": image,
        "resources": {"requests": {"cpu": chance.choice(["50m", "100m", "200m"])}},
    }
    if chance.random() < 0.4:
        probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": chance.choice([1, 3])}
        container["readinessProbe"] = probe
    if chance.random() < 0.15:
        container["ports"] = [{"containerPort": 80, "hostPort": 8080}]
    spec: Json = {"containers": [container], "terminationGracePeriodSeconds": 3}
    if chance.random() < 0.15:
        first = desk.image(f"init-{name}", runs_s=chance.choice([0.2, 2.0]))
        spec["initContainers"] = [{"name": "first", "image": first}]
    if chance.random() < 0.1:
        spec["volumes"] = [{"name": "settings", "configMap": {"name": name}}]
        mount = {"name": "settings", "mountPath": "/settings"}
        container["volumeMounts"] = [mount]
        _config_map(desk, name, late=chance.random() < 0.3)
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def _config_map(desk: Desk, name: str, late: bool) -> None:
    """What pods of a workload mount; it may come after them."""
    at = desk.at
    if late:
        desk.at += 3
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    desk.kube("POST /api/v1/namespaces/default/configmaps", {**body, "data": {"a": "1"}})
    desk.at = at


def _new_image(desk: Desk, name: str, **behaviour: Any) -> Json:
    container = {"name": name, "image": desk.image(name, **behaviour)}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def _deployment(desk: Desk) -> None:
    chance, name = desk.chance, f"web-{desk.number}"
    template = pod_template(desk, name, desk.image(name))
    spec: Json = {
        "replicas": chance.integer(0, 3),
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    }
    if "ports" in template["spec"]["containers"][0]:
        spec["replicas"] = min(spec["replicas"], 1)
        spec["strategy"] = {"type": "Recreate"}
    elif chance.random() < 0.5:
        rolling = {"maxSurge": chance.integer(0, 2), "maxUnavailable": chance.integer(0, 2)}
        if not any(rolling.values()):
            rolling["maxSurge"] = 1
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    path = f"{APPS}/deployments"
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    if chance.random() < 0.4:
        _kube_service(desk, name)
    fixed = spec.get("strategy", {}).get("type") == "Recreate"
    for _ in range(chance.integer(0, 2)):
        desk.later()
        kind = chance.choice(["scale", "update", "update", "bad update"])
        if kind == "scale" and not fixed:
            patch = {"spec": {"replicas": chance.integer(0, 4)}}
            desk.kube(f"PATCH {path}/{name}", patch, MERGE)
        elif kind == "update":
            desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)
        elif kind == "bad update":
            bad = chance.choice(_BAD)
            desk.kube(f"PATCH {path}/{name}", _new_image(desk, name, **bad), STRATEGIC)
            desk.later()
            desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)
    if chance.random() < 0.25:
        desk.later()
        how = chance.choice(["Background", "Foreground"])
        desk.kube(f"DELETE {path}/{name}", {"propagationPolicy": how})
        if how == "Background" and chance.random() < 0.5:
            desk.later()
            desk.kube(f"POST {path}", {**body, "spec": spec})


def _kube_service(desk: Desk, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    desk.kube("POST /api/v1/namespaces/default/services", {**body, "spec": spec})


def _stateful_set(desk: Desk) -> None:
    chance, name = desk.chance, f"db-{desk.number}"
    spec: Json = {
        "replicas": chance.integer(1, 3),
        "serviceName": name,
        "podManagementPolicy": chance.choice(["OrderedReady", "Parallel"]),
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(desk, name, desk.image(name)),
    }
    spec["template"]["spec"]["containers"][0].pop("ports", None)
    path = f"{APPS}/statefulsets"
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    for _ in range(chance.integer(0, 2)):
        desk.later()
        if chance.random() < 0.5:
            patch = {"spec": {"replicas": chance.integer(0, 3)}}
            desk.kube(f"PATCH {path}/{name}", patch, MERGE)
        else:
            desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)
    if chance.random() < 0.2:
        desk.later()
        desk.kube(f"DELETE {path}/{name}")


def _daemon(desk: Desk) -> None:
    chance, name = desk.chance, f"agent-{desk.number}"
    spec: Json = {
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(desk, name, desk.image(name)),
    }
    spec["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "50m"
    spec["template"]["spec"]["containers"][0].pop("ports", None)
    path = f"{APPS}/daemonsets"
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    if chance.random() < 0.5:
        desk.later()
        desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)


def _job(desk: Desk) -> None:
    chance, name = desk.chance, f"job-{desk.number}"
    image = desk.image(name, runs_s=chance.choice([0.5, 3.0, 8.0]))
    template = pod_template(desk, name, image)
    template["spec"]["containers"][0].pop("readinessProbe", None)
    template["spec"]["containers"][0].pop("ports", None)
    if chance.random() < 0.6:  # they wait for each other's room
        template["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
    template["spec"]["restartPolicy"] = chance.choice(["Never", "OnFailure"])
    spec: Json = {
        "completions": chance.integer(1, 4),
        "parallelism": chance.integer(1, 4),
        "backoffLimit": 20,
        "template": template,
    }
    if chance.random() < 0.3:
        spec["completionMode"] = "Indexed"
    path = "/apis/batch/v1/namespaces/default/jobs"
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    if chance.random() < 0.2:
        desk.later()
        desk.kube(f"DELETE {path}/{name}", {"propagationPolicy": "Background"})


def _namespace(desk: Desk) -> None:
    """A namespace with something in it, which goes again."""
    chance, name = desk.chance, f"team-{desk.number}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    desk.kube("POST /api/v1/namespaces", body)
    template = pod_template(desk, name, desk.image(name))
    template["spec"].pop("volumes", None)
    template["spec"]["containers"][0].pop("volumeMounts", None)
    template["spec"]["containers"][0].pop("ports", None)
    spec = {
        "replicas": chance.integer(1, 3),
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    }
    inside = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    desk.kube(f"POST /apis/apps/v1/namespaces/{name}/deployments", {**inside, "spec": spec})
    if chance.random() < 0.7:
        desk.later()
        desk.kube(f"DELETE /api/v1/namespaces/{name}")


def _bare_pod(desk: Desk) -> None:
    """A pod of nobody's, which runs to its end or is deleted."""
    chance, name = desk.chance, f"pod-{desk.number}"
    ends = chance.random() < 0.5
    template = pod_template(desk, name, desk.image(name, runs_s=4.0 if ends else None))
    template["spec"]["containers"][0].pop("readinessProbe", None)
    template["spec"]["restartPolicy"] = "Never" if ends else "Always"
    template["metadata"]["name"] = name
    path = "/api/v1/namespaces/default/pods"
    desk.kube(f"POST {path}", {"apiVersion": "v1", "kind": "Pod", **template})
    desk.later()
    if chance.random() < 0.5:
        grace = {"gracePeriodSeconds": chance.choice([1, 5])}
        desk.kube(f"DELETE {path}/{name}", grace, refusals=[404])


MAKERS = (
    _deployment, _deployment, _deployment, _stateful_set, _daemon, _job, _job, _namespace,
    _bare_pod,
)  # fmt: skip
