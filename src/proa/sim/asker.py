"""Who asks a stage's two APIs what a large scenario says: workloads, changes, deletions.

``large`` makes one. Requests are those of the real tools: signed with Signature Version 4, or sent
with a client certificate; who gets no answer asks again, as the SDKs and kubectl do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from proa.base.clock import iso8601
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Response
from proa.sim.plan import Workload
from proa.sim.requests import ecs_request, kube_request
from proa.sim.stage import Stage

Json = dict[str, Any]
RETRY_S, ATTEMPTS = 2.0, 300
NAMESPACE = "default"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_RUN_AT_ONCE = 10  # tasks of one RunTask


class Refusal(CallerFault):
    """An API refused what the scenario asks for."""


class Asker:
    """One user of both APIs. ``refused`` counts answers that say no to a deletion: what was to be
    deleted had gone."""

    def __init__(self, stage: Stage, subnets: tuple[str, ...]) -> None:
        self._stage, self._subnets = stage, subnets
        self._runs = 0
        self.refused = 0

    async def ecs(self, operation: str, given: Json) -> Json:
        """An operation of ECS. Raises Refusal."""
        stage = self._stage

        async def attempt() -> Response:
            now = stage.clock.now()
            return await stage.aws(ecs_request(stage.config, stage.keys, now, operation, given))

        return _read(operation, await self._insist(attempt))

    async def kube(self, method: str, path: str, body: Json | None = None,
                   content_type: str = "application/json") -> Json:  # fmt: skip
        """A request to the Kubernetes API as a cluster administrator. Raises Refusal."""
        request = kube_request(method, path, body, content_type)
        return _read(f"{method} {path}", await self._insist(lambda: self._stage.kube(request)))

    async def _insist(self, attempt: Callable[[], Awaitable[Response]]) -> Response:
        for _ in range(ATTEMPTS):
            try:
                answer = await attempt()
                if answer.status not in (429, 503):
                    return answer
            except TryAgain:
                pass
            await self._stage.clock.sleep(RETRY_S)
        raise Refusal("the control plane never came back")

    # Workloads

    async def create(self, workload: Workload, name: str) -> None:
        """A copy of a workload comes into being."""
        if workload.kind == "deployment":
            await self.kube("POST", _DEPLOYMENTS, _deployment(workload, name))
            if workload.expose:
                body = _service(name)
                await self.kube("POST", f"/api/v1/namespaces/{NAMESPACE}/services", body)
        elif workload.kind == "job":
            await self._job(workload, name)
        else:
            family = await self._family(workload, name, workload.image)
            if workload.kind == "service":
                given: Json = {"serviceName": name, "taskDefinition": family}
                given |= {"desiredCount": workload.replicas, **self._launch(workload)}
                given["deploymentConfiguration"] = {
                    "maximumPercent": 100 + _percent(workload.surge),
                    "minimumHealthyPercent": 100 - _percent(workload.unavailable),
                }
                await self.ecs("CreateService", given)
            else:
                await self._run_tasks(workload, name)

    async def again(self, workload: Workload, name: str) -> None:
        """The next round of a job or of tasks."""
        if workload.kind == "job":
            await self._job(workload, name)
        else:
            await self._run_tasks(workload, name)

    async def _job(self, workload: Workload, name: str) -> None:
        self._runs += 1
        body = _job(workload, name, f"{name}-{self._runs}")
        await self.kube("POST", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)

    async def _run_tasks(self, workload: Workload, name: str) -> None:
        left = workload.replicas
        while left > 0:
            given = {"taskDefinition": name, "count": min(left, _RUN_AT_ONCE)}
            await self.ecs("RunTask", {**given, **self._launch(workload)})
            left -= _RUN_AT_ONCE

    async def _family(self, workload: Workload, name: str, image: str) -> str:
        answer = await self.ecs("RegisterTaskDefinition", _definition(workload, name, image))
        found = answer["taskDefinition"]
        return f"{found['family']}:{found['revision']}"

    def _launch(self, workload: Workload) -> Json:
        given: Json = {}
        if workload.network == "awsvpc" or workload.capacity == "fargate":
            place = {"subnets": list(self._subnets)}
            given["networkConfiguration"] = {"awsvpcConfiguration": place}
        if workload.capacity == "fargate":
            given["launchType"] = "FARGATE"
        elif workload.strategy == "binpack":
            given["placementStrategy"] = [{"type": "binpack", "field": "memory"}]
        elif workload.strategy == "random":
            given["placementStrategy"] = [{"type": "random"}]
        else:
            given["placementStrategy"] = [
                {"type": "spread", "field": "attribute:ecs.availability-zone"},
                {"type": "spread", "field": "instanceId"},
            ]
        return given

    # Changes

    async def scale(self, workload: Workload, name: str, replicas: int) -> None:
        """Another number of replicas."""
        if workload.kind == "service":
            await self.ecs("UpdateService", {"service": name, "desiredCount": replicas})
        else:
            body: Json = {"spec": {"replicas": replicas}}
            await self.kube("PATCH", f"{_DEPLOYMENTS}/{name}", body, _MERGE)

    async def roll(self, workload: Workload, name: str, image: str) -> None:
        """Another image."""
        if workload.kind == "service":
            family = await self._family(workload, name, image)
            await self.ecs("UpdateService", {"service": name, "taskDefinition": family})
        else:
            containers = [{"name": name, "image": image}]
            body = {"spec": {"template": {"spec": {"containers": containers}}}}
            await self.kube("PATCH", f"{_DEPLOYMENTS}/{name}", body, _STRATEGIC)

    async def restart(self, workload: Workload, name: str) -> None:
        """The same deployed anew: ``kubectl rollout restart``, ``--force-new-deployment``."""
        if workload.kind == "service":
            await self.ecs("UpdateService", {"service": name, "forceNewDeployment": True})
        else:
            now = iso8601(self._stage.clock.now())
            marks = {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}
            body = {"spec": {"template": {"metadata": marks}}}
            await self.kube("PATCH", f"{_DEPLOYMENTS}/{name}", body, _STRATEGIC)

    async def end(self, skin: str, namespace: str, name: str) -> None:
        """One replica is deleted or stopped; one that has gone already is no matter."""
        try:
            if skin == "kube":
                await self.kube("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}")
            else:
                await self.ecs("StopTask", {"cluster": namespace, "task": name, "reason": "churn"})
        except Refusal:
            self.refused += 1


def _percent(value: str | int) -> int:
    """ECS knows shares only: a number of replicas counts as the default quarter."""
    return int(value.rstrip("%")) if isinstance(value, str) else 25


def _read(what: str, response: Response) -> Json:
    answer: Json = orjson.loads(response.body) if response.body else {}
    if response.status >= 300:
        said = answer.get("message") or answer.get("Message") or response.body.decode()
        raise Refusal(f"{what}: {response.status} {said}")
    return answer


def _resources(workload: Workload) -> Json:
    amounts = {"cpu": f"{round(workload.vcpu * 1000)}m", "memory": f"{workload.memory_mib}Mi"}
    return {"requests": amounts, "limits": {"memory": amounts["memory"]}}


def _pod(workload: Workload, name: str) -> Json:
    container: Json = {
        "name": name,
        "image": workload.image,
        "ports": [{"containerPort": 80}],
        "resources": _resources(workload),
    }
    if workload.probe_s:
        probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": workload.probe_s}
        container["readinessProbe"] = probe
    spec: Json = {
        "containers": [container],
        "terminationGracePeriodSeconds": workload.grace_s,
        "enableServiceLinks": False,  # with many Services each pod would carry them all
    }
    if workload.node_labels:
        spec["nodeSelector"] = workload.node_labels
    return {"metadata": {"labels": {**workload.labels, "app": name}}, "spec": spec}


def _deployment(workload: Workload, name: str) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {
                "rollingUpdate": {
                    "maxSurge": workload.surge,
                    "maxUnavailable": workload.unavailable,
                }
            },
            "template": _pod(workload, name),
        },
    }


def _job(workload: Workload, name: str, run: str) -> Json:
    pod = _pod(workload, name)
    pod["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": run},
        "spec": {
            "parallelism": workload.replicas,
            "completions": workload.replicas,
            "ttlSecondsAfterFinished": 60,
            "template": pod,
        },
    }


def _service(name: str) -> Json:
    ports = [{"port": 80, "targetPort": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def _definition(workload: Workload, name: str, image: str) -> Json:
    container: Json = {
        "name": name,
        "image": image,
        "essential": True,
        "stopTimeout": workload.grace_s,
        "cpu": round(workload.vcpu * 1024),
        "memory": workload.memory_mib,
    }
    if workload.probe_s:
        container["healthCheck"] = {
            "command": ["CMD-SHELL", "true"],
            "interval": max(5, workload.probe_s),
        }
    document: Json = {
        "family": name,
        "networkMode": "awsvpc" if workload.capacity == "fargate" else workload.network,
        "containerDefinitions": [container],
    }
    if workload.capacity == "fargate":
        document["requiresCompatibilities"] = ["FARGATE"]
        document["cpu"] = str(round(workload.vcpu * 1024))
        document["memory"] = str(workload.memory_mib)
    return document
