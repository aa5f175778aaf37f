"""compile_task: what an agent is told of a task."""

from __future__ import annotations

from typing import Any

from proa.aws.ecs import launch, taskdef
from proa.aws.ecs.compile import compile_task
from proa.aws.ecs.environment import Unresolved, references
from proa.aws.ecs.records import Task, TaskDefinition, TaskInterface
from proa.base.chance import Chance
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.model.sandbox import Container, Device, Sandbox, Ulimit

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


def test_references_are_named_once_and_in_order() -> None:
    containers = [
        {"secrets": [{"valueFrom": "b"}, {"valueFrom": "a"}]},
        {},
        {"secrets": [{"valueFrom": "b"}]},
    ]
    assert references(containers, "secrets", "valueFrom") == ["b", "a"]


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


def test_limits_devices_and_memory_of_linux_pass_through() -> None:
    linux = {
        "initProcessEnabled": True,
        "sharedMemorySize": 128,
        "maxSwap": 0,
        "swappiness": 10,
        "devices": [{"hostPath": "/dev/fuse", "permissions": ["read", "mknod"]}],
        "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec", "mode=1777"]}],
    }
    limits = [{"name": "nofile", "softLimit": 10, "hardLimit": 20}]
    container = only(compiled({"memory": 8, "linuxParameters": linux, "ulimits": limits}, "EC2"))
    assert container.devices == (Device("/dev/fuse", "/dev/fuse", "rm"),)
    assert (container.shm_size, container.init_process) == (128 * MIB, True)
    assert (container.swap_limit, container.swappiness) == (0, 10)
    assert container.ulimits == (Ulimit("nofile", 10, 20),)
    assert container.mounts[0].options == ("noexec", "mode=1777")


def test_swap_is_left_alone_unless_it_is_limited() -> None:
    container = only(compiled({"memory": 8, "linuxParameters": {"swappiness": 10}}, "EC2"))
    assert (container.swap_limit, container.swappiness) == (None, None)


def test_fargate_raises_the_limit_of_open_files() -> None:
    assert only(compiled()).ulimits == (Ulimit("nofile", 65_535, 65_535),)


def test_a_restart_policy_restarts_after_its_period_and_ignores_codes() -> None:
    policy = {"enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60}
    container = only(compiled({"restartPolicy": policy}))
    assert (container.restart, container.restart_ignored) == ("Always", (0,))
    assert container.restart_after_s == 60
    assert only(compiled({"restartPolicy": {"enabled": True}})).restart_after_s == 300
    assert only(compiled({"restartPolicy": {"enabled": False}})).restart == "Never"


def test_no_new_privileges_is_the_security_option_that_is_understood() -> None:
    options = {"memory": 8, "dockerSecurityOptions": ["no-new-privileges"]}
    assert not only(compiled(options, "EC2")).allow_privilege_escalation
    assert only(compiled({"memory": 8}, "EC2")).allow_privilege_escalation


def test_environment_files_come_before_the_definition_and_the_first_of_them_wins() -> None:
    files = [{"type": "s3", "value": f"arn:aws:s3:::b/{name}.env"} for name in ("one", "two")]
    container = {"environmentFiles": files, "environment": [{"name": "C", "value": "own"}]}
    resolve = {
        "arn:aws:s3:::b/one.env": "# comment\nA=1\nB = 'x y' \nC=file\nEMPTY=\nno equals\n",
        "arn:aws:s3:::b/two.env": "A=2\r\nD=4\r\n",
    }
    found = only(compiled(container, resolve=resolve))
    values = dict(found.environment)
    assert (values["A"], values["B"], values["C"], values["D"]) == ("1", " 'x y' ", "own", "4")
    assert "EMPTY" not in values and found.blocked == ""


def test_an_environment_file_that_cannot_be_read_blocks_the_container() -> None:
    container = {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]}
    found = only(compiled(container, resolve={"arn:aws:s3:::b/x.env": Unresolved("NoSuchKey")}))
    assert found.blocked.startswith("ResourceInitializationError: failed to download env files")
    assert found.blocked.endswith("NoSuchKey")


def test_overridden_environment_files_replace_the_definition_s() -> None:
    container = {"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/x.env"}]}
    override = {
        "name": "web",
        "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/y.env"}],
    }
    resolve = {"arn:aws:s3:::b/y.env": "A=y"}
    found = only(compiled(container, overrides={"containerOverrides": [override]}, resolve=resolve))
    assert dict(found.environment)["A"] == "y" and found.blocked == ""


def test_docker_volumes_are_of_the_task_or_shared_on_the_instance() -> None:
    def docker(name: str, **configuration: object) -> dict[str, object]:
        return {"name": name, "dockerVolumeConfiguration": configuration}

    volumes = [docker("own", scope="task"), docker("all", scope="shared", autoprovision=True),
               docker("there", scope="shared")]  # fmt: skip
    found = compiled({"memory": 8}, "EC2", volumes=volumes).volumes
    assert [(item.kind, item.path, item.path_type) for item in found] == [
        ("empty", "", ""),
        ("shared", "all", ""),
        ("shared", "there", "Directory"),
    ]


def test_volumes_from_another_container_are_mounted_where_it_has_them() -> None:
    data = {"sourceVolume": "data", "containerPath": "/data"}
    sandbox = compiled(
        volumes=[{"name": "data"}, {"name": "own"}],
        containerDefinitions=[
            {"name": "base", "image": "x", "mountPoints": [data]},
            {"name": "middle", "image": "x", "volumesFrom": [{"sourceContainer": "base"}]},
            {
                "name": "reader",
                "image": "x",
                "mountPoints": [{"sourceVolume": "own", "containerPath": "/own"}],
                "volumesFrom": [{"sourceContainer": "middle", "readOnly": True}],
            },
        ],
    )
    reader = sandbox.containers[2]
    assert [(m.volume, m.path, m.read_only) for m in reader.mounts] == [
        ("own", "/own", False),
        ("data", "/data", True),
    ]
    assert [(d.container, d.condition) for d in reader.depends_on] == [("middle", "START")]
