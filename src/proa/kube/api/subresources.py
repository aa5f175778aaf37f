"""Subresources that are more than a part of their object: scale, binding, eviction, log, exec."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from proa.base.clock import from_iso8601
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response, Socket
from proa.kube.api import bodies
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import JSON, bad_request, modified, not_found
from proa.kube.api.node_link import NodeLink
from proa.kube.api.options import WriteOptions, check_delete_options, whole_number
from proa.kube.api.paths import Target
from proa.kube.api.writes import Writer, Written
from proa.kube.schema.kinds import Resource
from proa.kube.schema.selectors import label_selector_object

PROTOCOL = "v5.channel.k8s.io"


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
    if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed", "Pending"):
        _check_budgets(api, target.namespace, pod)
    on_trial = dry_run or bool(options.get("dryRun"))
    return await writer.delete(resource, target.namespace, target.name, options, on_trial)


def _check_budgets(api: Api, namespace: str, pod: Json) -> None:
    labels = pod["metadata"].get("labels") or {}
    budgets = []
    for entry in api.entries(api.builtin("policy", "poddisruptionbudgets"), namespace):
        budget = orjson.loads(entry.body)
        if label_selector_object(budget["spec"].get("selector"))(labels):
            budgets.append(budget)
    if len(budgets) > 1:
        raise ApiError(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support.",
        )
    for budget in budgets:
        allowed = budget.get("status", {}).get("disruptionsAllowed", 0)
        if allowed < 1:
            raise ApiError(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
                {"retryAfterSeconds": 10},
            )


class PodStreams:
    """Logs and exec of pods, through the agents."""

    def __init__(self, api: Api, link: NodeLink) -> None:
        self._api, self._link = api, link

    def _container(self, resource: Resource, target: Target, wanted: str) -> tuple[Json, str]:
        """(pod, container name). Raises 404 and 400 in kube-apiserver's words."""
        entry = self._api.entry(resource, target.namespace, target.name)
        if entry is None:
            raise not_found(resource, target.name)
        pod = bodies.loaded(entry.body, entry.version)
        names = [item["name"] for item in pod["spec"].get("containers", [])]
        inits = [item["name"] for item in pod["spec"].get("initContainers") or []]
        if not wanted:
            if len(names) != 1:
                shown = " ".join(names)
                raise bad_request(
                    f"a container name must be specified for pod {target.name}, "
                    f"choose one of: [{shown}]"
                )
            wanted = names[0]
        if wanted not in names + inits:
            raise bad_request(f"container {wanted} is not valid for pod {target.name}")
        return pod, wanted

    async def log(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/log."""
        pod, container = self._container(resource, target, request.param("container"))
        node = pod["spec"].get("nodeName")
        if not node:
            return Response(200, b"", {"content-type": "text/plain"})
        waiting = _waiting(pod, container)
        if waiting and request.param("previous") != "true":
            raise bad_request(
                f'container "{container}" in pod "{target.name}" is waiting to start: {waiting}'
            )
        options = self._log_options(request)
        chunks = self._link.logs(node, pod["metadata"]["uid"], container, options)
        first = await self._first(chunks)
        return Response(200, headers={"content-type": "text/plain"}, stream=_joined(first, chunks))

    async def _first(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The first chunk, so that a refusal is still an error status."""
        try:
            return await anext(chunks)
        except StopAsyncIteration:
            return b""
        except TryAgain as error:
            raise ApiError(503, "ServiceUnavailable", str(error)) from error
        except CallerFault as error:
            raise bad_request(str(error)) from error

    def _log_options(self, request: Request) -> dict[str, str]:
        options = {}
        for ours, theirs in (
            ("follow", "follow"),
            ("timestamps", "timestamps"),
            ("previous", "previous"),
            ("tail", "tailLines"),
            ("limit", "limitBytes"),
        ):
            value = request.param(theirs)
            if value:
                options[ours] = value
        seconds, since = request.param("sinceSeconds"), request.param("sinceTime")
        if seconds:
            options["since"] = str(self._api.clock.now() - whole_number(request, "sinceSeconds"))
        elif since:
            try:
                options["since"] = str(from_iso8601(since))
            except ValueError as error:
                raise bad_request(f"sinceTime: {error}") from error
        return options

    async def exec(self, request: Request, resource: Resource, target: Target) -> Response:
        """pods/exec over a WebSocket; other upgrades are refused by name."""
        pod, container = self._container(resource, target, request.param("container"))
        offered = request.headers.get("sec-websocket-protocol", "")
        if request.headers.get("upgrade", "").lower() != "websocket" or PROTOCOL not in offered:
            raise bad_request(f"exec needs an upgrade to a WebSocket with {PROTOCOL}")
        if not any(key == "command" for key, _ in request.query):
            raise bad_request("you must specify at least 1 command for the container")
        node = pod["spec"].get("nodeName")
        if not node or pod.get("status", {}).get("phase") != "Running":
            raise bad_request(f"pod {target.name} does not have a host assigned or does not run")
        query = [(key, value) for key, value in request.query if key in ("command", "tty", "stdin")]
        path = f"/exec/{pod['metadata']['uid']}/{container}"

        async def run(socket: Socket) -> None:
            await self._link.stream(node, path, query, socket)

        return Response(upgrade=run, subprotocol=PROTOCOL)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk


def _waiting(pod: Json, container: str) -> str:
    """Why a container has written nothing yet; "" where it has run."""
    status = pod.get("status", {})
    found: list[dict[str, Any]] = [
        item
        for name in ("containerStatuses", "initContainerStatuses")
        for item in status.get(name) or []
        if item["name"] == container
    ]
    if not found:
        return "ContainerCreating"
    state = found[0].get("state") or {}
    if "waiting" in state and not found[0].get("lastState"):
        return str(state["waiting"].get("reason", "ContainerCreating"))
    return ""


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
