"""Environment, secrets, dependencies, health checks, restarts, logs: one container's members that
do not depend on how it is attached or stored."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, is_fargate

MAX_FILES = 10
MAX_IGNORED_CODES = 50
RESTART_PERIOD_S = (60, 1800)
MIN_TIMEOUT_S = 2
HEALTH_RANGES = {
    "interval": (5, 300),
    "timeout": (2, 60),
    "retries": (1, 10),
    "startPeriod": (0, 300),
}
FIRELENS = "awsfirelens"
_VARIABLE = re.compile(r"^[^=\x00]+$")
_FILE = re.compile(r"^arn:aws[a-z-]*:s3:::[a-z0-9.-]{3,63}/.+\.env$")
_ARN = re.compile(r"^arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:\d{12}:.+$")
_PARAMETER = re.compile(r"^[A-Za-z0-9_.\-/]{1,2048}$")
_MODES = ("blocking", "non-blocking")


def rules(request: Document) -> Iterator[str]:
    """Each container by itself, then their order."""
    for name, container in containers_of(request):
        yield from environment_rules(name, container)
        yield from _secrets(request, name, container)
        yield from _health(name, container.get("healthCheck"))
        yield from _restarts(name, container)
        yield from _logging(request, name, container)
        yield from _requirements(name, container)
    yield from _firelens(request)
    yield from _dependencies(request)


def environment_rules(name: str, container: Document) -> Iterator[str]:
    """Rules of ``environment`` and ``environmentFiles``, of definitions and overrides alike."""
    for entry in container.get("environment") or []:
        if not _VARIABLE.match(entry.get("name") or ""):
            yield invalid("environment", name, "The name of a variable can't be empty or hold '='.")
    files = container.get("environmentFiles") or []
    if len(files) > MAX_FILES:
        yield invalid("environmentFiles", name, f"There may be {MAX_FILES} environment files.")
    for file in files:
        if not file["value"].endswith(".env"):
            yield invalid("environmentFiles", name, "The file must have a .env file extension.")
        if not _FILE.match(file["value"]):
            yield f"Invalid arn syntax: '{file['value']}' is not the ARN of an Amazon S3 object."


def _secrets(request: Document, name: str, container: Document) -> Iterator[str]:
    log = container.get("logConfiguration") or {}
    secrets = [*(container.get("secrets") or []), *(log.get("secretOptions") or [])]
    if secrets and not request.get("executionRoleArn"):
        yield (
            "When you are specifying container secrets, you must also specify a value for "
            "'executionRoleArn'."
        )
    plain = {entry.get("name") for entry in container.get("environment") or []}
    seen: set[str] = set()
    for secret in container.get("secrets") or []:
        label = secret["name"]
        if not _VARIABLE.match(label):
            yield invalid("secrets", name, "The name of a variable can't be empty or hold '='.")
        if label in seen or label in plain:
            yield (
                "The secret name must be unique and not shared with any new or existing "
                f"environment variables set on the container, such as '{label}'."
            )
        seen.add(label)
    for secret in secrets:
        yield from _reference(secret)


def _reference(secret: Document) -> Iterator[str]:
    text = secret["valueFrom"]
    if text.startswith("arn:"):
        if not _ARN.match(text):
            yield f"Invalid arn syntax: '{text}' names neither a secret nor a parameter."
    elif not _PARAMETER.match(text):
        yield (
            f"The Systems Manager parameter name specified for secret {secret['name']} is "
            "invalid. The parameter name can be up to 2048 characters and include the following "
            "letters and symbols: a-zA-Z0-9_.-,"
        )


def _health(name: str, health: Document | None) -> Iterator[str]:
    if not health:
        return
    command = health.get("command") or []
    if not command or command[0] not in ("CMD", "CMD-SHELL", "NONE"):
        yield (
            f"Invalid health check for container '{name}': the command must start with CMD or "
            "CMD-SHELL."
        )
    if command[0] != "NONE" and len(command) < 2:
        yield f"Invalid health check for container '{name}': the command is empty."
    for field, (low, high) in HEALTH_RANGES.items():
        value = health.get(field)
        if value is not None and not low <= value <= high:
            yield f"Health check {field} for container '{name}' must be between {low} and {high}."


def _restarts(name: str, container: Document) -> Iterator[str]:
    for member in ("startTimeout", "stopTimeout"):
        seconds = container.get(member)
        if seconds is not None and seconds < MIN_TIMEOUT_S:
            yield invalid(member, name, f"The minimum is {MIN_TIMEOUT_S} seconds.")
    policy = container.get("restartPolicy") or {}
    if len(policy.get("ignoredExitCodes") or []) > MAX_IGNORED_CODES:
        yield invalid(
            "restartPolicy", name, f"There may be {MAX_IGNORED_CODES} ignored exit codes."
        )
    period = policy.get("restartAttemptPeriod")
    low, high = RESTART_PERIOD_S
    if period is not None and not low <= period <= high:
        yield invalid(
            "restartPolicy", name, f"restartAttemptPeriod must be between {low} and {high}."
        )


def _logging(request: Document, name: str, container: Document) -> Iterator[str]:
    log = container.get("logConfiguration")
    if not log:
        return
    options = log.get("options") or {}
    if options.get("mode") not in (None, *_MODES):
        yield invalid("logConfiguration", name, f"mode must be one of {', '.join(_MODES)}.")
    if options.get("max-buffer-size") and options.get("mode") == "blocking":
        yield invalid("logConfiguration", name, "max-buffer-size requires mode non-blocking.")
    if log["logDriver"] != "awslogs":
        return
    required = ["awslogs-group", "awslogs-region"]
    if is_fargate(request):
        required.append("awslogs-stream-prefix")
    for option in required:
        if not options.get(option):
            yield (
                f"Log driver awslogs requires options: {', '.join(required)}. "
                f"'{option}' is missing for container '{name}'."
            )


def _requirements(name: str, container: Document) -> Iterator[str]:
    kinds: set[str] = set()
    for need in container.get("resourceRequirements") or []:
        kind, value = need["type"], need.get("value")
        if kind in kinds:
            yield invalid("resourceRequirements", name, f"{kind} is required more than once.")
        kinds.add(kind)
        if kind == "GPU" and bool(value) == bool(need.get("sharingStrategy")):
            yield invalid(
                "resourceRequirements", name, "Specify either value or sharingStrategy for a GPU."
            )
        if kind == "GPU" and value and value != "ALL" and not (value.isdecimal() and int(value)):
            yield invalid("resourceRequirements", name, f"'{value}' is no number of GPUs.")
        if kind == "NeuronDevice" and value != "ALL":
            yield invalid("resourceRequirements", name, "The value of NeuronDevice must be ALL.")


def _firelens(request: Document) -> Iterator[str]:
    routers = [name for name, item in containers_of(request) if item.get("firelensConfiguration")]
    if len(routers) > 1:
        yield "Only one container of a task definition may have a firelensConfiguration."
    for name, container in containers_of(request):
        log = container.get("logConfiguration")
        if log and log["logDriver"] == FIRELENS and not routers:
            yield (
                "When a firelensConfiguration object is specified, at least one container has to "
                f"be configured with the awsfirelens log driver: '{name}' has no log router."
            )


def _dependencies(request: Document) -> Iterator[str]:
    containers = dict(containers_of(request))
    graph: dict[str, list[str]] = {}
    for name, container in containers.items():
        graph[name] = [text.partition(":")[0] for text in container.get("links") or []]
        graph[name] += [
            str(item.get("sourceContainer")) for item in container.get("volumesFrom") or []
        ]
        for dependency in container.get("dependsOn") or []:
            other = containers.get(dependency["containerName"])
            if other is None or other is container:
                yield (
                    f"Container '{name}' depends on '{dependency['containerName']}', which is not "
                    "another container of the task definition."
                )
                return
            graph[name].append(other["name"])
            yield from _condition(name, other, dependency["condition"])
    if _has_cycle(graph):
        yield "The container dependencies of the task definition form a cycle."


def _condition(name: str, other: Document, condition: str) -> Iterator[str]:
    if condition == "HEALTHY" and not other.get("healthCheck"):
        yield (
            f"Container '{name}' waits for '{other['name']}' to be HEALTHY, but it has no health "
            "check."
        )
    if condition in ("COMPLETE", "SUCCESS") and other.get("essential") is not False:
        yield (
            f"Container '{name}' waits for '{other['name']}' to {condition}, which an essential "
            "container may not be waited for."
        )


def _has_cycle(graph: dict[str, list[str]]) -> bool:
    """Peel off what waits for nothing that is left; a rest means a cycle."""
    waiting = {name: set(others) for name, others in graph.items()}
    while waiting:
        free = [name for name in waiting if not waiting[name] & waiting.keys()]
        if not free:
            return True
        for name in free:
            del waiting[name]
    return False
