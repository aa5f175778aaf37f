"""compile_task: from a task and its definition to the Sandbox that an agent runs. Pure.

Called by the hull's port each time the feed needs a task's present form; nothing of the result is
stored. Choices made here, because two APIs share one Sandbox:

- A health check becomes the container's ``readiness`` probe. For the skin "ecs" the agent fills
  ``ContainerStatus.healthy`` from it and never restarts by it: ECS health decides replacement,
  which is the service's business.
- On Fargate the task's size is a hard limit of the whole Sandbox; on EC2 CPU units are shares
  only, as with the ECS agent's default, and a task-level memory is a limit.
- In bridge mode each container has an address that the API does not show; its published ports
  are virtual addresses on the Instance (``hull.published``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from proa.aws.ecs import environment, hostports, launch, networking, storage
from proa.aws.ecs.keys import cluster_key
from proa.aws.ecs.per_definition import PerDefinition
from proa.aws.ecs.records import Task, TaskDefinition
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.model.sandbox import (
    Container,
    Dependency,
    Device,
    LogSink,
    Network,
    Probe,
    Sandbox,
    Ulimit,
    Volume,
)

Document = dict[str, Any]
DEFAULT_STOP_S = 30
MIN_SHARES, MAX_SHARES = 2, 262_144
RESTART_AFTER_S = 300  # restartAttemptPeriod's default
NO_NEW_PRIVILEGES = "no-new-privileges"
FARGATE_NOFILE = Ulimit("nofile", 65_535, 65_535)  # "Task definition parameters", ulimits
DEVICE_LETTERS = {"read": "r", "write": "w", "mknod": "m"}


def compile_task(task: Task, definition: TaskDefinition, resolve: Mapping[str, str]) -> Sandbox:
    """The Sandbox of a bound task. ``resolve`` gives the text of each secret's ``valueFrom`` and
    of each environment file; a missing one or an ``Unresolved`` blocks the container with ECS's
    words for it."""
    common = common_of(task, definition)
    documents = common.documents
    is_fargate = task.launch_type == "FARGATE"
    has_size = bool(definition.document.get("memory") or task.overrides.get("memory"))
    shared, *own = networking.networks(task, documents)
    assert shared is not None, "the Sandbox itself is always attached somehow"
    sysctls, own_sysctls = networking.sysctls(own, documents)
    return Sandbox(
        uid=task.id,
        name=task.id,
        namespace=task.cluster,
        key=task.key,
        instance=task.instance,
        containers=tuple(
            map(partial(_container, task, resolve), documents, common.containers, own, own_sysctls)
        ),
        skin="ecs",
        cluster=cluster_key(task.account, task.region, task.cluster),
        network=shared,
        volumes=common.volumes,
        reserve=launch.reserve_of(task),
        ports=tuple(hostports.taken_ports(task)),
        grace_s=common.grace_s,
        memory_limit=int(task.memory) * MIB if is_fargate or has_size else 0,
        cpu_quota=int(task.cpu) * CPU_PER_ECS_UNIT if is_fargate else 0,
        host_pid=definition.document.get("pidMode") == "host",
        share_pid=definition.document.get("pidMode") == "task",
        host_ipc=definition.document.get("ipcMode") == "host",
        sysctls=sysctls,
        labels=_labels(task),
        created_at=task.created_at,
    )


class Common(msgspec.Struct, frozen=True):
    """What the tasks of one definition are alike in: ``containers`` lack their networks, logs and
    environments; ``secrets`` and ``files`` are what they refer to."""

    documents: tuple[Document, ...]
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    grace_s: int
    secrets: tuple[str, ...]
    files: tuple[str, ...]


def common_of(task: Task, definition: TaskDefinition) -> Common:
    """What a task has from its definition, and from what it overrides of that."""
    return _COMMON.of_task(task, definition)


def _common(definition: TaskDefinition, launch_type: str, overrides: Document) -> Common:
    documents = tuple(launch.overridden(definition, overrides))
    return Common(
        documents,
        tuple(_specified(launch_type, item, documents) for item in documents),
        storage.volumes(definition, documents),
        max((_stop_s(item) for item in documents), default=DEFAULT_STOP_S),
        tuple(environment.references(documents, "secrets", "valueFrom")),
        tuple(environment.references(documents, "environmentFiles", "value")),
    )


_COMMON = PerDefinition(_common)


def _labels(task: Task) -> tuple[tuple[str, str], ...]:
    return (
        ("com.amazonaws.ecs.cluster", task.cluster),
        ("com.amazonaws.ecs.task-arn", task.arn),
        ("com.amazonaws.ecs.task-definition-family", task.family),
        ("com.amazonaws.ecs.task-definition-version", str(task.revision)),
    )


def _stop_s(container: Document) -> int:
    value = container.get("stopTimeout")
    return DEFAULT_STOP_S if value is None else int(value)


def _container(
    task: Task,
    resolve: Mapping[str, str],
    item: Document,
    specified: Container,
    network: Network | None,
    sysctls: networking.Sysctls,
) -> Container:
    """One container with what only this task has of it."""
    variables, blocked = environment.of_container(task, item, resolve)
    return msgspec.structs.replace(
        specified,
        environment=variables,
        blocked=blocked,
        log=_log(task, item),
        network=network,
        sysctls=sysctls,
    )


def _specified(launch_type: str, item: Document, containers: Sequence[Document]) -> Container:
    entry, command = item.get("entryPoint"), item.get("command")
    container = Container(
        name=item["name"],
        image=item["image"],
        pull="Always" if launch_type == "FARGATE" else "IfNotPresent",
        entrypoint=tuple(entry) if entry else None,
        arguments=tuple(command) if command else None,
        working_dir=item.get("workingDirectory") or "",
        mounts=storage.mounts(item, containers),
        user=item.get("user") or "",
        cpu_shares=min(max(item["cpu"], MIN_SHARES), MAX_SHARES),
        memory_limit=(item.get("memory") or 0) * MIB,
        readiness=_health(item),
        essential=item["essential"],
        depends_on=_dependencies(item),
        stop_grace_s=_stop_s(item),
        tty=bool(item.get("pseudoTerminal")),
        stdin=bool(item.get("interactive")),
        privileged=bool(item.get("privileged")),
        read_only_root=bool(item.get("readonlyRootFilesystem")),
        allow_privilege_escalation=NO_NEW_PRIVILEGES
        not in (item.get("dockerSecurityOptions") or ()),
        ulimits=_ulimits(launch_type, item),
    )
    return _restarting(_linux(container, item.get("linuxParameters") or {}), item)


def _dependencies(item: Document) -> tuple[Dependency, ...]:
    """``dependsOn``; links and volumesFrom wait for the other's start, as the agent makes them."""
    found = [
        Dependency(other["containerName"], other["condition"])
        for other in item.get("dependsOn") or []
    ]
    named = {dependency.container for dependency in found}
    implied = [networking.link(text)[0] for text in item.get("links") or []]
    implied += [source["sourceContainer"] for source in item["volumesFrom"]]
    found += [Dependency(name) for name in dict.fromkeys(implied) if name not in named]
    return tuple(found)


def _ulimits(launch_type: str, item: Document) -> tuple[Ulimit, ...]:
    given = {
        entry["name"]: Ulimit(entry["name"], entry["softLimit"], entry["hardLimit"])
        for entry in item.get("ulimits") or []
    }
    if launch_type == "FARGATE":
        given.setdefault("nofile", FARGATE_NOFILE)
    return tuple(given.values())


def _linux(container: Container, linux: Document) -> Container:
    capabilities = linux.get("capabilities") or {}
    swap = linux.get("maxSwap")
    return msgspec.structs.replace(
        container,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        devices=tuple(_device(device) for device in linux.get("devices") or []),
        shm_size=(linux.get("sharedMemorySize") or 0) * MIB,
        swap_limit=None if swap is None else swap * MIB,
        swappiness=None if swap is None else linux.get("swappiness"),
        init_process=bool(linux.get("initProcessEnabled")),
    )


def _device(device: Document) -> Device:
    given = device.get("permissions") or DEVICE_LETTERS
    letters = "".join(letter for name, letter in DEVICE_LETTERS.items() if name in given)
    return Device(device["hostPath"], device.get("containerPath") or device["hostPath"], letters)


def _restarting(container: Container, item: Document) -> Container:
    policy = item.get("restartPolicy") or {}
    if not policy.get("enabled"):
        return container
    return msgspec.structs.replace(
        container,
        restart="Always",
        restart_ignored=tuple(policy.get("ignoredExitCodes") or ()),
        restart_after_s=policy.get("restartAttemptPeriod") or RESTART_AFTER_S,
    )


def _health(item: Document) -> Probe | None:
    if not launch.is_checked(item):
        return None
    health = item["healthCheck"]
    kind, *words = health["command"]
    command = tuple(words) if kind == "CMD" else ("/bin/sh", "-c", " ".join(words))
    return Probe(
        command=command,
        initial_delay_s=health["interval"],
        period_s=health["interval"],
        timeout_s=health["timeout"],
        failures=health["retries"],
        start_period_s=health.get("startPeriod") or 0,
    )


def _log(task: Task, item: Document) -> LogSink | None:
    log = item.get("logConfiguration")
    if not log or log["logDriver"] != "awslogs":
        return None
    options = log.get("options") or {}
    prefix = options.get("awslogs-stream-prefix")
    stream = f"{prefix}/{item['name']}/{task.id}" if prefix else f"{task.id}-{item['name']}"
    return LogSink(
        group=options["awslogs-group"],
        stream=stream,
        region=options["awslogs-region"],
        account=task.account,
    )
