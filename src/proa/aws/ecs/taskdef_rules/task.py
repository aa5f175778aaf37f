"""Names, and the members of the task as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from proa.aws.ecs import query
from proa.aws.ecs.names import NAME
from proa.aws.ecs.taskdef_rules.common import Document, is_fargate, mode_of
from proa.aws.gateway.service import AwsError

MAX_CONTAINERS = 10  # "Amazon ECS service quotas"
MAX_BYTES = 64 * 1024
MAX_CONSTRAINTS = 10
STORAGE_GIB = (21, 200)
_IMAGE = re.compile(r"^[A-Za-z0-9_\-:./#]{1,255}(@sha256:[0-9a-f]{64})?$")
_PROXY_NEEDED = ("AppPorts", "ProxyIngressPort", "ProxyEgressPort")


def names(request: Document) -> Iterator[str]:
    """The family's and the containers' names, which every other rule relies on."""
    if not NAME.match(request.get("family") or ""):
        yield (
            "Family contains invalid characters. Up to 255 letters (uppercase and lowercase), "
            "numbers, hyphens, and underscores are allowed."
        )
    containers = request.get("containerDefinitions") or []
    if not containers:
        yield "Container list cannot be empty."
    if len(containers) > MAX_CONTAINERS:
        yield f"Too many containers: a task definition may have {MAX_CONTAINERS}."
    seen: set[str] = set()
    for container in containers:
        name = container.get("name") or ""
        if not name:
            yield "Container.name should not be null or empty."
        if not NAME.match(name):
            yield f"Container.name contains invalid characters: '{name}'."
        yield from _image(name, container.get("image") or "")
        if name in seen:
            yield f"Container.name '{name}' is used by more than one container."
        seen.add(name)
    if not any(container.get("essential") is not False for container in containers):
        yield "At least one container must be marked essential."


def _image(name: str, image: str) -> Iterator[str]:
    if not image:
        yield (
            f"Invalid setting for container '{name}'. Container.image should not be null or empty."
        )
    if not _IMAGE.match(image):
        yield (
            f"Invalid setting for container '{name}'. Container.image contains invalid characters."
        )


def rules(request: Document) -> Iterator[str]:
    """The rest of the task's own members."""
    if len(msgspec.json.encode(request)) > MAX_BYTES:
        yield f"Task definition is larger than the maximum of {MAX_BYTES // 1024} KB."
    yield from _constraints(request)
    yield from _platform(request)
    storage = request.get("ephemeralStorage")
    low, high = STORAGE_GIB
    if storage and not low <= storage["sizeInGiB"] <= high:
        yield f"Invalid 'ephemeralStorage' setting for task. The valid values are {low}-{high}."
    if request.get("proxyConfiguration"):
        yield from _proxy(request, request["proxyConfiguration"])
    yield from _accelerators(request)
    if request.get("enableFaultInjection") and mode_of(request) not in ("awsvpc", "host"):
        yield "Fault injection is only supported when networkMode=awsvpc or networkMode=host."
    if request.get("trustedExecutionConfiguration") and "MANAGED_INSTANCES" not in (
        request.get("requiresCompatibilities") or ()
    ):
        yield "Trusted execution is supported only for Amazon ECS Managed Instances."


def _constraints(request: Document) -> Iterator[str]:
    constraints = request.get("placementConstraints") or []
    if len(constraints) > MAX_CONSTRAINTS:
        yield f"Too many placement constraints: a task definition may have {MAX_CONSTRAINTS}."
    for constraint in constraints:
        if constraint.get("type") != "memberOf":
            yield "Invalid placement constraint: the type must be memberOf."
        try:
            query.parse(constraint.get("expression") or "")
        except AwsError as error:
            yield error.message


def _platform(request: Document) -> Iterator[str]:
    family = (request.get("runtimePlatform") or {}).get("operatingSystemFamily") or "LINUX"
    if family == "LINUX":
        return
    for container in request["containerDefinitions"]:
        for member in ("linuxParameters", "privileged", "user", "readonlyRootFilesystem"):
            if container.get(member):
                yield f"The '{member}' parameter is not supported for Windows containers."
    if not is_fargate(request) and mode_of(request) == "none":
        yield "Windows containers do not support networkMode=none."


def _proxy(request: Document, proxy: Document) -> Iterator[str]:
    if mode_of(request) != "awsvpc":
        yield "Proxy configuration is only supported when networkMode=awsvpc."
    if proxy["containerName"] not in {item["name"] for item in request["containerDefinitions"]}:
        yield (
            f"Proxy configuration's container '{proxy['containerName']}' is not a container of "
            "the task definition."
        )
    given = {item.get("name"): item.get("value") for item in proxy.get("properties") or []}
    for name in _PROXY_NEEDED:
        if not given.get(name):
            yield f"Proxy configuration requires the property '{name}'."
    if not given.get("IgnoredUID") and not given.get("IgnoredGID"):
        yield "Proxy configuration requires the property 'IgnoredUID' or 'IgnoredGID'."


def _accelerators(request: Document) -> Iterator[str]:
    devices = {item["deviceName"] for item in request.get("inferenceAccelerators") or []}
    used = {
        need.get("value")
        for container in request["containerDefinitions"]
        for need in container.get("resourceRequirements") or []
        if need["type"] == "InferenceAccelerator"
    }
    for name in sorted(devices ^ {str(device) for device in used}):
        yield (
            f"Inference accelerator '{name}' must be defined by the task and referenced by a "
            "container's resource requirements."
        )
