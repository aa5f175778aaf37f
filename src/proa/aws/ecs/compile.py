"""compile_task: from a task and its definition to the Sandbox that an agent runs. Pure.

Called by the hull's port each time the feed needs a task's present form; nothing of the result is
stored. Choices made here, because two APIs share one Sandbox:

- A health check becomes the container's ``readiness`` probe. For the skin "ecs" the agent fills
  ``ContainerStatus.healthy`` from it and never restarts by it: ECS health decides replacement,
  which is the service's business.
- On Fargate the task's size is a hard limit of the whole Sandbox; on EC2 CPU units are shares
  only, as with the ECS agent's default, and a task-level memory is a limit.
- Bridge mode gets an interface of its own that the API does not show; its published ports are
  virtual addresses on the Instance (``hull.published``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.aws.ecs import launch
from proa.aws.ecs.keys import cluster_key
from proa.aws.ecs.records import Task, TaskDefinition
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.model.sandbox import (
    Container,
    Dependency,
    Dns,
    LogSink,
    Mount,
    Network,
    Probe,
    Sandbox,
    Volume,
)

Document = dict[str, Any]
DEFAULT_STOP_S = 30
MIN_SHARES, MAX_SHARES = 2, 262_144


class Unresolved(str):
    """Why a secret could not be read; stands where its value would."""


def compile_task(task: Task, definition: TaskDefinition, resolve: Mapping[str, str]) -> Sandbox:
    """The Sandbox of a bound task. ``resolve`` gives the value of each secret's ``valueFrom``; a
    missing one or an ``Unresolved`` blocks the container with ECS's words for it."""
    containers = launch.overridden(definition, task.overrides)
    is_fargate = task.launch_type == "FARGATE"
    has_size = bool(definition.document.get("memory") or task.overrides.get("memory"))
    grace = max((_stop_s(container) for container in containers), default=DEFAULT_STOP_S)
    return Sandbox(
        uid=task.id,
        name=task.id,
        namespace=task.cluster,
        key=task.key,
        instance=task.instance,
        containers=tuple(_container(task, definition, item, resolve) for item in containers),
        skin="ecs",
        cluster=cluster_key(task.account, task.region, task.cluster),
        network=_network(task, containers),
        volumes=_volumes(definition, containers),
        reserve=launch.reserve_of(task),
        ports=launch.host_ports(definition),
        grace_s=grace,
        memory_limit=int(task.memory) * MIB if is_fargate or has_size else 0,
        cpu_quota=int(task.cpu) * CPU_PER_ECS_UNIT if is_fargate else 0,
        host_pid=definition.document.get("pidMode") == "host",
        share_pid=definition.document.get("pidMode") == "task",
        host_ipc=definition.document.get("ipcMode") == "host",
        labels=_labels(task),
        created_at=task.created_at,
    )


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
    task: Task, definition: TaskDefinition, item: Document, resolve: Mapping[str, str]
) -> Container:
    environment, blocked = _environment(task, definition, item, resolve)
    linux = item.get("linuxParameters") or {}
    capabilities = linux.get("capabilities") or {}
    entry, command = item.get("entryPoint"), item.get("command")
    restart = (item.get("restartPolicy") or {}).get("enabled")
    return Container(
        name=item["name"],
        image=item["image"],
        pull="Always" if task.launch_type == "FARGATE" else "IfNotPresent",
        entrypoint=tuple(entry) if entry else None,
        arguments=tuple(command) if command else None,
        working_dir=item.get("workingDirectory") or "",
        environment=environment,
        mounts=(*_mounts(item), *_tmpfs_mounts(item)),
        user=item.get("user") or "",
        cpu_shares=min(max(item["cpu"], MIN_SHARES), MAX_SHARES),
        memory_limit=(item.get("memory") or 0) * MIB,
        readiness=_health(item),
        essential=item["essential"],
        restart="Always" if restart else "Never",
        depends_on=tuple(
            Dependency(other["containerName"], other["condition"])
            for other in item.get("dependsOn") or []
        ),
        stop_grace_s=_stop_s(item),
        log=_log(task, item),
        tty=bool(item.get("pseudoTerminal")),
        stdin=bool(item.get("interactive")),
        privileged=bool(item.get("privileged")),
        read_only_root=bool(item.get("readonlyRootFilesystem")),
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        blocked=blocked,
    )


def _environment(
    task: Task, definition: TaskDefinition, item: Document, resolve: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], str]:
    """(variables, why the container cannot be made). The container's own settings win over ours."""
    values = {"AWS_EXECUTION_ENV": f"AWS_ECS_{task.launch_type}"}
    if task.launch_type == "FARGATE":
        values |= {"AWS_REGION": task.region, "AWS_DEFAULT_REGION": task.region}
    values |= {entry["name"]: entry["value"] for entry in item["environment"]}
    blocked = ""
    for secret in item.get("secrets") or []:
        value = resolve.get(secret["valueFrom"])
        if value is None or isinstance(value, Unresolved):
            blocked = blocked or (
                "ResourceInitializationError: unable to pull secrets or registry auth: execution "
                f"resource retrieval failed: {value or secret['valueFrom']}"
            )
            continue
        values[secret["name"]] = value
    return tuple(values.items()), blocked


def secret_references(definition: TaskDefinition) -> list[str]:
    """Every ``valueFrom`` that compile_task will ask for, once, in order."""
    return list(
        dict.fromkeys(
            secret["valueFrom"]
            for container in definition.containers
            for secret in container.get("secrets") or []
        )
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


def _mounts(item: Document) -> tuple[Mount, ...]:
    return tuple(
        Mount(mount["sourceVolume"], mount["containerPath"], bool(mount.get("readOnly")))
        for mount in item["mountPoints"]
    )


def _tmpfs(item: Document) -> list[Document]:
    return list((item.get("linuxParameters") or {}).get("tmpfs") or [])


def _tmpfs_name(item: Document, index: int) -> str:
    return f"tmpfs-{item['name']}-{index}"


def _tmpfs_mounts(item: Document) -> tuple[Mount, ...]:
    return tuple(
        Mount(
            _tmpfs_name(item, index),
            mount["containerPath"],
            "ro" in (mount.get("mountOptions") or ()),
        )
        for index, mount in enumerate(_tmpfs(item))
    )


def _volumes(definition: TaskDefinition, containers: list[Document]) -> tuple[Volume, ...]:
    declared = [_volume(volume) for volume in definition.document["volumes"]]
    memory = [
        Volume(_tmpfs_name(item, index), "empty", "Memory", mount["size"] * MIB)
        for item in containers
        for index, mount in enumerate(_tmpfs(item))
    ]
    return (*declared, *memory)


def _volume(volume: Document) -> Volume:
    source = (volume.get("host") or {}).get("sourcePath")
    if source:
        return Volume(volume["name"], "host", path=source, path_type="DirectoryOrCreate")
    return Volume(volume["name"])


def _network(task: Task, containers: list[Document]) -> Network:
    if task.network_mode == "none":
        return Network(mode="none", hostname=task.id[:12])
    dns = Dns(
        servers=_joined(containers, "dnsServers"), searches=_joined(containers, "dnsSearchDomains")
    )
    hosts = tuple(
        (entry["ipAddress"], (entry["hostname"],))
        for container in containers
        for entry in container.get("extraHosts") or []
    )
    if task.network_mode == "host":
        return Network(mode="host", dns=dns, hosts=hosts)
    interface = task.interface
    assert interface is not None, "a bound task that is not on the host has an interface"
    if not dns.servers and interface.dns_server:
        searches = dns.searches or (_domain(interface.private_dns, task.region),)
        dns = Dns((interface.dns_server,), searches)
    named = next((item["hostname"] for item in containers if item.get("hostname")), "")
    return Network(
        mode="vpc",
        vpc=interface.vpc,
        address=interface.address,
        mac=interface.mac,
        hostname=named or interface.private_dns or task.id[:12],
        dns=dns,
        hosts=hosts,
    )


def _joined(containers: list[Document], member: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for item in containers for text in item.get(member) or []))


def _domain(private_dns: str, region: str) -> str:
    _, dot, domain = private_dns.partition(".")
    if dot:
        return domain
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
