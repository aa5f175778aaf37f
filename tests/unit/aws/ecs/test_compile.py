"""compile_task: what an agent is told of a task."""

from __future__ import annotations

from typing import Any

from proa.aws.ecs import launch, taskdef
from proa.aws.ecs.compile import Unresolved, compile_task, secret_references
from proa.aws.ecs.records import Task, TaskDefinition, TaskInterface
from proa.base.chance import Chance
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.model.resources import Port
from proa.model.sandbox import Container, Sandbox

INTERFACE = TaskInterface(
    "eni-1", "a", "subnet-1", "us-east-1a", "vpc-1", "172.31.0.5", "02:00:00:00:00:05",
    "ip-172-31-0-5.ec2.internal", dns_server="172.31.0.2",
)  # fmt: skip


def compiled(
    container: dict[str, Any] | None = None,
    launch_type: str = "FARGATE",
    overrides: dict[str, Any] | None = None,
    resolve: dict[str, str] | None = None,
    **document: Any,
) -> Sandbox:
    request = {
        "family": "web",
        "networkMode": "awsvpc",
        "containerDefinitions": [{"name": "web", "image": "nginx", **(container or {})}],
        **({"cpu": "256", "memory": "512"} if launch_type == "FARGATE" else {}),
        **document,
    }
    definition = TaskDefinition("1", "us-east-1", "web", 1, taskdef.document_of(request))
    task = Task(
        "1", "us-east-1", "default", "abc", "web", 1, launch_type,
        interface=INTERFACE, overrides=overrides or {}, instance="i-1",
    )  # fmt: skip
    return compile_task(launch.draft(task, definition, Chance("t")), definition, resolve or {})


def only(sandbox: Sandbox) -> Container:
    (container,) = sandbox.containers
    return container


def test_a_fargate_task_is_limited_to_its_size() -> None:
    sandbox = compiled({"cpu": 64, "memory": 256})
    assert sandbox.cpu_quota == 256 * CPU_PER_ECS_UNIT
    assert sandbox.memory_limit == 512 * MIB
    assert sandbox.reserve.cpu == sandbox.cpu_quota and sandbox.reserve.memory == 512 * MIB
    assert (only(sandbox).cpu_shares, only(sandbox).memory_limit) == (64, 256 * MIB)
    assert sandbox.skin == "ecs" and sandbox.uid == "abc"


def test_an_ec2_task_shares_the_cpu_and_reserves_the_soft_memory() -> None:
    sandbox = compiled({"cpu": 0, "memory": 256, "memoryReservation": 128}, "EC2")
    assert (sandbox.cpu_quota, sandbox.memory_limit) == (0, 0)
    assert sandbox.reserve.memory == 128 * MIB
    assert (only(sandbox).cpu_shares, only(sandbox).memory_limit) == (2, 256 * MIB)


def test_a_task_has_its_interface_and_the_resolver_of_its_vpc() -> None:
    network = compiled().network
    assert (network.mode, network.vpc, network.address) == ("vpc", "vpc-1", "172.31.0.5")
    assert network.dns.servers == ("172.31.0.2",) and network.dns.searches == ("ec2.internal",)
    assert network.hostname == "ip-172-31-0-5.ec2.internal"
    assert compiled({"memory": 8}, "EC2", networkMode="host").network.mode == "host"
    assert compiled({"memory": 8}, "EC2", networkMode="none").network.mode == "none"


def test_host_ports_are_taken_on_the_instance_only_where_they_are_fixed() -> None:
    mapping = {"memory": 8, "portMappings": [{"containerPort": 80, "hostPort": 8080}]}
    bridge = compiled(mapping, "EC2", networkMode="bridge")
    assert bridge.ports == (Port(8080, "tcp"),)
    assert compiled({"portMappings": [{"containerPort": 80}]}).ports == ()


def test_overrides_replace_command_and_size_and_merge_the_environment() -> None:
    override = {
        "cpu": "512",
        "memory": "1024",
        "containerOverrides": [
            {
                "name": "web",
                "command": ["b"],
                "environment": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}],
            }
        ],
    }
    sandbox = compiled(
        {"entryPoint": ["e"], "command": ["a"], "environment": [{"name": "X", "value": "1"}]},
        overrides=override,
    )
    container = only(sandbox)
    assert (container.entrypoint, container.arguments) == (("e",), ("b",))
    values = dict(container.environment)
    assert (values["X"], values["Y"]) == ("2", "3")
    assert values["AWS_EXECUTION_ENV"] == "AWS_ECS_FARGATE"
    assert values["AWS_DEFAULT_REGION"] == "us-east-1"
    assert sandbox.memory_limit == 1024 * MIB


def test_a_health_check_becomes_a_probe_that_decides_healthy() -> None:
    check = {"command": ["CMD-SHELL", "curl -f x || exit 1"], "startPeriod": 20, "retries": 2}
    probe = only(compiled({"healthCheck": check})).readiness
    assert probe is not None
    assert probe.command == ("/bin/sh", "-c", "curl -f x || exit 1")
    assert (probe.period_s, probe.timeout_s, probe.failures, probe.start_period_s) == (30, 5, 2, 20)
    assert only(compiled({"healthCheck": {"command": ["NONE"]}})).readiness is None


def test_awslogs_becomes_a_sink_with_ecs_stream_names() -> None:
    options = {"awslogs-group": "/g", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "p"}
    log = {"logConfiguration": {"logDriver": "awslogs", "options": options}}
    sink = only(compiled(log)).log
    assert sink is not None
    assert (sink.group, sink.stream, sink.region) == ("/g", "p/web/abc", "eu-west-1")


def test_a_secret_is_an_environment_variable_or_the_reason_why_not() -> None:
    container = {"secrets": [{"name": "PASSWORD", "valueFrom": "arn:x"}]}
    known = only(compiled(container, resolve={"arn:x": "s3cret"}))
    assert dict(known.environment)["PASSWORD"] == "s3cret" and known.blocked == ""
    unknown = only(compiled(container, resolve={"arn:x": Unresolved("AccessDenied")}))
    assert unknown.blocked.startswith("ResourceInitializationError: unable to pull secrets")
    assert "AccessDenied" in unknown.blocked and "PASSWORD" not in dict(unknown.environment)


def test_secret_references_are_named_once() -> None:
    secrets = [{"name": name, "valueFrom": "arn:x"} for name in ("A", "B")]
    request = {
        "family": "web",
        "containerDefinitions": [{"name": "web", "image": "x", "memory": 8, "secrets": secrets}],
    }
    definition = TaskDefinition("1", "r", "web", 1, taskdef.document_of(request))
    assert secret_references(definition) == ["arn:x"]


def test_volumes_are_host_paths_empty_directories_and_tmpfs() -> None:
    sandbox = compiled(
        {
            "memory": 64,
            "mountPoints": [
                {"sourceVolume": "data", "containerPath": "/data"},
                {"sourceVolume": "etc", "containerPath": "/etc/x", "readOnly": True},
            ],
            "linuxParameters": {
                "tmpfs": [{"containerPath": "/run", "size": 16}],
                "capabilities": {"add": ["NET_ADMIN"]},
            },
        },
        "EC2",
        volumes=[{"name": "data"}, {"name": "etc", "host": {"sourcePath": "/etc"}}],
    )
    assert [(item.kind, item.path, item.medium) for item in sandbox.volumes] == [
        ("empty", "", ""),
        ("host", "/etc", ""),
        ("empty", "", "Memory"),
    ]
    assert [(item.path, item.read_only) for item in only(sandbox).mounts] == [
        ("/data", False),
        ("/etc/x", True),
        ("/run", False),
    ]
    assert only(sandbox).add_capabilities == ("NET_ADMIN",)


def test_dependencies_essentials_and_stop_timeouts_pass_through() -> None:
    sandbox = compiled(
        containerDefinitions=[
            {
                "name": "web",
                "image": "x",
                "stopTimeout": 90,
                "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
            },
            {"name": "init", "image": "y", "essential": False},
        ]
    )
    web, init = sandbox.containers
    assert web.depends_on[0].condition == "SUCCESS" and not init.essential
    assert (web.stop_grace_s, sandbox.grace_s) == (90, 90)
