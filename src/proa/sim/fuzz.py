"""Histories drawn from a seed alone: a small world, workloads under both APIs, faults.

``proa sim fuzz`` and the tests play many; what ``draw`` makes is a scenario like any other, so
that one which found something can be kept as a file and plays the same when this has changed.
"""

from __future__ import annotations

from typing import Any

from proa.base.chance import Chance
from proa.sim.fuzz_faults import draw_faults
from proa.sim.scenario import Scenario

Json = dict[str, Any]
BUSY_S = 20.0  # when the last step comes, at most
NAMESPACE = "/apis/apps/v1/namespaces/default"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
GONE = [404, 409]


def draw(seed: str) -> Scenario:
    """The history of a seed."""
    chance = Chance(f"fuzz {seed}")
    hosts = _hosts(chance.child("hosts"))
    steps: list[Json] = []
    images: dict[str, Json] = {}
    drawn = chance.child("workloads")
    makers = [_deployment, _deployment, _service, _service, _stateful_set, _job, _tasks, _daemon]
    for number in range(drawn.integer(1, 3)):
        maker = drawn.choice(makers)
        maker(_Desk(drawn.child(str(number)), number, steps, images))
    steps.sort(key=lambda step: step["at"])
    moments = [step["at"] for step in steps]
    ids = [host["id"] for host in hosts]
    faults = draw_faults(chance.child("faults"), ids, sorted(images), moments)
    watched = ("/api/v1/pods",) if drawn.random() < 0.5 else ()
    return Scenario(
        name="fuzz",
        hosts=tuple(hosts),
        steps=tuple(steps),
        faults=tuple(faults),
        images=images,
        within_s=_patience_s(faults),
        settles=True,
        watched=watched,
        contenders=2 if drawn.random() < 0.1 else 0,
        seed=seed,
    )


def _patience_s(faults: list[Json]) -> float:
    """How long a world may take to settle: what waits for room must not need the look that the
    scheduler takes every five minutes, while lost machines are given up after as long."""
    names = {fault["fault"] for fault in faults}
    return 900.0 if names & {"lose_host", "reclaim_host", "partition", "jump_clock"} else 200.0


def _hosts(chance: Chance) -> list[Json]:
    count = chance.choice([1, 2, 2, 3, 4])
    return [{"id": f"h-{number}", "vcpu": 4, "memory_mib": 16384} for number in range(1, count + 1)]


class _Desk:
    """What a workload is written on."""

    def __init__(self, chance: Chance, number: int, steps: list[Json], images: dict[str, Json]):
        self.chance, self.number = chance, number
        self._steps, self._images = steps, images
        self.at = round(1 + 3 * chance.random(), 2)

    def later(self) -> None:
        """Let some time pass, or none at all."""
        pause = self.chance.choice([0.0, 0.05, 1.0, 4.0, 8.0]) * self.chance.random()
        self.at = round(min(BUSY_S, self.at + pause), 3)

    def kube(self, call: str, body: Json | None = None, kind: str = "", **more: Any) -> None:
        step = {"at": self.at, "kube": call}
        if body is not None:
            step["body"] = body
        if kind:
            step["content_type"] = kind
        self._steps.append(step | more)

    def ecs(self, operation: str, given: Json, **more: Any) -> None:
        self._steps.append({"at": self.at, "ecs": operation, "input": given} | more)

    def image(self, name: str, **behaviour: Any) -> str:
        """An image of this workload's own, with a behaviour."""
        chance = self.chance
        drawn = {
            "pull_s": chance.choice([0.1, 0.5, 2.0]),
            "ready_s": chance.choice([0.0, 0.0, 1.0]),
            "stops_s": chance.choice([0.1, 0.1, 2.0, None]),
        }
        reference = f"{name}:{len(self._images)}"
        self._images[reference] = drawn | behaviour
        return reference


def _pod(desk: _Desk, name: str, image: str) -> Json:
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
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def _new_image(desk: _Desk, name: str) -> Json:
    container = {"name": name, "image": desk.image(name)}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def _deployment(desk: _Desk) -> None:
    chance, name = desk.chance, f"web-{desk.number}"
    template = _pod(desk, name, desk.image(name))
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
    path = f"{NAMESPACE}/deployments"
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    if chance.random() < 0.4:
        _kube_service(desk, name)
    fixed = spec.get("strategy", {}).get("type") == "Recreate"
    for _ in range(chance.integer(0, 2)):
        desk.later()
        kind = chance.choice(["scale", "update", "update", "pod"])
        if kind == "scale" and not fixed:
            patch = {"spec": {"replicas": chance.integer(0, 4)}}
            desk.kube(f"PATCH {path}/{name}", patch, MERGE)
        elif kind == "update":
            desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)
    if chance.random() < 0.2:
        desk.later()
        how = chance.choice(["Background", "Foreground"])
        desk.kube(f"DELETE {path}/{name}", {"propagationPolicy": how})


def _kube_service(desk: _Desk, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    desk.kube("POST /api/v1/namespaces/default/services", {**body, "spec": spec})


def _stateful_set(desk: _Desk) -> None:
    chance, name = desk.chance, f"db-{desk.number}"
    spec: Json = {
        "replicas": chance.integer(1, 3),
        "serviceName": name,
        "podManagementPolicy": chance.choice(["OrderedReady", "Parallel"]),
        "selector": {"matchLabels": {"app": name}},
        "template": _pod(desk, name, desk.image(name)),
    }
    spec["template"]["spec"]["containers"][0].pop("ports", None)
    path = f"{NAMESPACE}/statefulsets"
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


def _daemon(desk: _Desk) -> None:
    chance, name = desk.chance, f"agent-{desk.number}"
    spec: Json = {
        "selector": {"matchLabels": {"app": name}},
        "template": _pod(desk, name, desk.image(name)),
    }
    spec["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "50m"
    spec["template"]["spec"]["containers"][0].pop("ports", None)
    path = f"{NAMESPACE}/daemonsets"
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}}
    desk.kube(f"POST {path}", {**body, "spec": spec})
    if chance.random() < 0.5:
        desk.later()
        desk.kube(f"PATCH {path}/{name}", _new_image(desk, name), STRATEGIC)


def _job(desk: _Desk) -> None:
    chance, name = desk.chance, f"job-{desk.number}"
    image = desk.image(name, runs_s=chance.choice([0.5, 3.0, 8.0]))
    template = _pod(desk, name, image)
    template["spec"]["containers"][0].pop("readinessProbe", None)
    template["spec"]["containers"][0].pop("ports", None)
    if chance.random() < 0.4:  # they wait for each other's room
        template["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1500m"
    template["spec"]["restartPolicy"] = chance.choice(["Never", "OnFailure"])
    spec: Json = {
        "completions": chance.integer(1, 3),
        "parallelism": chance.integer(1, 3),
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


def _definition(desk: _Desk, family: str, mode: str, image: str, port: bool = False) -> None:
    container: Json = {"name": family, "image": image, "essential": True, "memory": 128}
    if port:
        container["portMappings"] = [{"containerPort": 80, "hostPort": 9000 + desk.number}]
    given: Json = {"family": family, "networkMode": mode, "containerDefinitions": [container]}
    if mode == "awsvpc":
        given |= {"cpu": "256", "memory": "512"}
        given["requiresCompatibilities"] = ["EC2", "FARGATE"]
    desk.ecs("RegisterTaskDefinition", given)


def _network() -> Json:
    return {"awsvpcConfiguration": {"subnets": ["${default-subnet}"]}}


def _service(desk: _Desk) -> None:
    chance, name = desk.chance, f"api-{desk.number}"
    mode = chance.choice(["awsvpc", "awsvpc", "bridge", "host"])
    port = mode == "bridge" and chance.random() < 0.4
    most = 1 if port else 3  # of which each needs a host of its own
    _definition(desk, name, mode, desk.image(name), port)
    desk.later()
    given: Json = {
        "serviceName": name,
        "taskDefinition": name,
        "desiredCount": chance.integer(0, most),
        "clientToken": name,
    }
    if port:
        given["deploymentConfiguration"] = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    elif chance.random() < 0.5:
        low, high = chance.choice([(100, 200), (50, 200), (0, 100), (0, 200)])
        given["deploymentConfiguration"] = {
            "minimumHealthyPercent": low,
            "maximumPercent": high,
        }
    if mode == "awsvpc":
        given["networkConfiguration"] = _network()
        given["launchType"] = chance.choice(["EC2", "FARGATE"])
    desk.ecs("CreateService", given)
    for _ in range(chance.integer(0, 2)):
        desk.later()
        if chance.random() < 0.5:
            change = {"service": name, "desiredCount": chance.integer(0, most)}
            desk.ecs("UpdateService", change)
        else:
            _definition(desk, name, mode, desk.image(name), port)
            desk.ecs("UpdateService", {"service": name, "taskDefinition": name})
    if chance.random() < 0.2:
        desk.later()
        desk.ecs("DeleteService", {"service": name, "force": True})


def _tasks(desk: _Desk) -> None:
    chance, name = desk.chance, f"run-{desk.number}"
    mode = chance.choice(["awsvpc", "bridge", "none"])
    _definition(desk, name, mode, desk.image(name, runs_s=chance.choice([1.0, 6.0, 15.0])))
    desk.later()
    given: Json = {
        "taskDefinition": name,
        "count": chance.integer(1, 3),
        "clientToken": name,
        "startedBy": name,
    }
    if mode == "awsvpc":
        given["networkConfiguration"] = _network()
        given["launchType"] = chance.choice(["EC2", "FARGATE"])
    desk.ecs("RunTask", given)
