"""The rules of single members of a task definition, by launch type and network mode."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.ecs import taskdef, taskdef_rules
from proa.aws.gateway.service import AwsError

ROLE = "arn:aws:iam::000000000000:role/exec"
FARGATE = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
}


def one(**container: Any) -> dict[str, Any]:
    """An EC2 definition of one container with these members."""
    return of(container)


def linux(**parameters: Any) -> dict[str, Any]:
    return one(linuxParameters=parameters)


def volume(**configuration: Any) -> dict[str, Any]:
    return of({}, volumes=[{"name": "v", **configuration}])


def of(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An EC2 definition; containers are named a, b … and have 64 MiB."""
    made = [
        {"name": letter, "image": "x", "memory": 64, **container}
        for letter, container in zip("abcdefghijkl", containers, strict=False)
    ]
    return {"family": "f", "containerDefinitions": made, **more}


def on_fargate(**container: Any) -> dict[str, Any]:
    return of(container, **FARGATE)


HEALTHY = {"healthCheck": {"command": ["CMD", "x"]}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    # names and the task
    (one(image="a b"), "Container.image contains invalid characters"),
    (one(image="x@sha256:12"), "Container.image contains invalid characters"),
    (of(*[{}] * 11), "may have 10"),
    (one(dockerLabels={"x": "y" * 70_000}), "larger than the maximum of 64 KB"),
    (of({}, placementConstraints=[{"type": "memberOf", "expression": "x ?"}]), "expression"),
    (
        of({}, placementConstraints=[{"type": "memberOf", "expression": "attribute:a == b"}] * 11),
        "may have 10",
    ),
    (of({}, ephemeralStorage={"sizeInGiB": 20}), "21-200"),
    (of({}, enableFaultInjection=True), "Fault injection"),
    (of({}, proxyConfiguration={"containerName": "a"}), "networkMode=awsvpc"),
    (
        of({}, networkMode="awsvpc", proxyConfiguration={"containerName": "z"}),
        "'z' is not a container",
    ),
    (of({}, inferenceAccelerators=[{"deviceName": "d", "deviceType": "t"}]), "'d' must be defined"),
    (of({"user": "0"}, runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}),
     "not supported for Windows"),
    # network
    (of({"links": ["b"]}, {}, networkMode="awsvpc"), "Links are not supported when networkMode="),
    (one(links=["b"]), "'b' is not another container"),
    (of({"links": ["b:"]}, {}), "of the form name or name:alias"),
    (of({"links": ["b"]}, {"links": ["a"]}), "form a cycle"),
    (of({"hostname": "h"}, networkMode="awsvpc"), "Hostname is not supported on container when"),
    (one(hostname="a_b"), "Invalid 'hostname'"),
    (of({"dnsServers": ["1.1.1.1"]}, networkMode="awsvpc"), "DNS servers are not supported"),
    (one(dnsServers=["dns"]), "'dns' is not an IP address"),
    (of({"dnsSearchDomains": ["x"]}, networkMode="awsvpc"), "DNS search domains are not"),
    (
        of({"extraHosts": [{"hostname": "h", "ipAddress": "1.1.1.1"}]}, networkMode="awsvpc"),
        "Extra hosts are not supported",
    ),
    (one(extraHosts=[{"hostname": "h", "ipAddress": "x"}]), "'x' is not an IP address"),
    (one(portMappings=[{"containerPortRange": "90-80"}]), "Invalid 'containerPortRange'"),
    (one(portMappings=[{"containerPortRange": "80-90", "hostPort": 1}]), "containerPortRange"),
    (one(portMappings=[{"containerPort": 80, "name": "-x"}]), "Port mapping name '-x' is invalid"),
    (one(portMappings=[{"containerPort": 80, "appProtocol": "http"}]), "requires a name"),
    (one(portMappings=[{"containerPort": 80, "hostPort": 70000}]), "Invalid 'hostPort'"),
    (one(portMappings=[{}]), "Invalid 'containerPort'"),
    # environment and secrets
    (one(environment=[{"name": "", "value": "x"}]), "name of a variable"),
    (
        one(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::bucket/x.txt"}]),
        ".env file extension",
    ),
    (one(environmentFiles=[{"type": "s3", "value": "s3://b/x.env"}]), "Invalid arn syntax"),
    (
        one(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::bucket/x.env"}] * 11),
        "may be 10",
    ),
    (one(secrets=[{"name": "A", "valueFrom": "p"}]), "must also specify a value for"),
    (
        of({"secrets": [{"name": "A", "valueFrom": "a b"}]}, executionRoleArn=ROLE),
        "The Systems Manager parameter name specified for secret A is invalid",
    ),
    (
        of({"secrets": [{"name": "A", "valueFrom": "arn:aws:s3:::b"}]}, executionRoleArn=ROLE),
        "Invalid arn syntax",
    ),
    (
        of(
            {
                "secrets": [{"name": "A", "valueFrom": "p"}],
                "environment": [{"name": "A", "value": "x"}],
            },
            executionRoleArn=ROLE,
        ),
        "The secret name must be unique",
    ),
    # timeouts, restarts, logs, requirements
    (one(startTimeout=1), "minimum is 2 seconds"),
    (one(restartPolicy={"enabled": True, "restartAttemptPeriod": 30}), "between 60 and 1800"),
    (
        one(restartPolicy={"enabled": True, "ignoredExitCodes": list(range(51))}),
        "may be 50",
    ),
    (one(logConfiguration={"logDriver": "awsfirelens"}), "has no log router"),
    (
        of(*[{"firelensConfiguration": {"type": "fluentbit"}}] * 2),
        "Only one container",
    ),
    (one(logConfiguration={"logDriver": "json-file", "options": {"mode": "fast"}}), "mode must be"),
    (one(resourceRequirements=[{"type": "GPU", "value": "x"}]), "no number of GPUs"),
    (one(resourceRequirements=[{"type": "GPU"}]), "either value or sharingStrategy"),
    # linux
    (linux(capabilities={"add": ["FLY"]}), "'FLY' is not a capability"),
    (linux(tmpfs=[{"containerPath": "t", "size": 1}]), "must be absolute"),
    (linux(tmpfs=[{"containerPath": "/t", "size": 0}]), "positive number of MiB"),
    (linux(tmpfs=[{"containerPath": "/t", "size": 1, "mountOptions": ["x"]}]), "not a mount"),
    (linux(sharedMemorySize=0), "positive number of MiB"),
    (linux(maxSwap=-1), "0 or any positive integer"),
    (linux(swappiness=101), "between 0 and 100"),
    (linux(devices=[{"hostPath": "dev"}]), "Paths must be absolute"),
    (one(ulimits=[{"name": "nofile", "softLimit": 2, "hardLimit": 1}]), "greater than the hard"),
    (one(ulimits=[{"name": "nofile", "softLimit": 1, "hardLimit": 1}] * 2), "more than once"),
    (one(systemControls=[{"namespace": "kernel.panic", "value": "1"}]), "not a namespaced"),
    (one(systemControls=[{"namespace": "net.core.somaxconn"}]), "Both namespace and value"),
    (
        of({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}]},
           networkMode="host"),
        "not supported when networkMode=host",
    ),
    (one(user="a b"), "Invalid 'user'"),
    (one(dockerSecurityOptions=["fast"]), "'fast' is not supported"),
    (one(workingDirectory="x"), "absolute path"),
    # storage
    (volume(host={"sourcePath": "x"}), "absolute path"),
    (
        volume(host={"sourcePath": "/x"}, dockerVolumeConfiguration={"scope": "task"}),
        "in one way only",
    ),
    (volume(dockerVolumeConfiguration={"scope": "task", "autoprovision": True}), "autoprovision"),
    (
        volume(
            efsVolumeConfiguration={
                "fileSystemId": "fs-1", "authorizationConfig": {"iam": "ENABLED"},
            }
        ),
        "transit encryption must be turned on",
    ),
    (of({}, volumes=[{"name": n, "configuredAtLaunch": True} for n in "vw"]), "Only one volume"),
    (one(volumesFrom=[{"sourceContainer": "z"}]), "'z' is not another container"),
    (
        of({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}] * 2},
           volumes=[{"name": "v"}]),
        "mounted more than once",
    ),
    # Fargate
    (on_fargate(linuxParameters={"devices": [{"hostPath": "/dev/x"}]}), "do not support devices"),
    (on_fargate(linuxParameters={"sharedMemorySize": 8}), "do not support sharedMemorySize"),
    (on_fargate(linuxParameters={"maxSwap": 0}), "do not support maxSwap"),
    (on_fargate(linuxParameters={"capabilities": {"add": ["NET_ADMIN"]}}), "SYS_PTRACE"),
    (on_fargate(dockerSecurityOptions=["no-new-privileges"]), "dockerSecurityOptions"),
    (on_fargate(startTimeout=121), "2-120"),
    (
        on_fargate(image="1.dkr.ecr.us-east-1.amazonaws.com/x"),
        "execution role ARN to support ECR images",
    ),
    (of({}, **FARGATE, ipcMode="task"), "ipcMode"),
    (of({}, **FARGATE, pidMode="host"), "pidMode 'host'"),
    (
        of({}, **FARGATE, volumes=[{"name": "v", "dockerVolumeConfiguration": {"scope": "task"}}]),
        "do not support dockerVolumeConfiguration",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "text"), REFUSED, ids=[text[:48] for _, text in REFUSED])
def test_a_member_is_refused(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(AwsError) as caught:
        taskdef_rules.check(request_)
    assert caught.value.code == "ClientException"
    assert text in caught.value.message


SOUND = [
    of({"links": ["b:db"], "hostname": "web", "dnsServers": ["10.0.0.2"]}, {}),
    of({"volumesFrom": [{"sourceContainer": "b", "readOnly": True}]}, {}),
    one(portMappings=[{"containerPortRange": "80-90"}, {"containerPort": 53, "protocol": "udp"}]),
    one(image="registry.example:5000/team/web:1.0"),
    one(image="web@sha256:" + "0" * 64),
    linux(capabilities={"add": ["ALL"], "drop": ["MKNOD"]}, tmpfs=[
        {"containerPath": "/t", "size": 1, "mountOptions": ["noexec", "mode=1777"]}]),
    one(systemControls=[{"namespace": "net.core.somaxconn", "value": "1"}]),
    one(ulimits=[{"name": "nofile", "softLimit": -1, "hardLimit": -1}]),
    of({"secrets": [{"name": "A", "valueFrom": "/app/password"}]}, executionRoleArn=ROLE),
    on_fargate(linuxParameters={"capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]},
                                "initProcessEnabled": True}),
    of({}, **FARGATE, ephemeralStorage={"sizeInGiB": 200}, pidMode="task"),
    of({"dependsOn": [{"containerName": "b", "condition": "HEALTHY"}]}, HEALTHY),
    of({"dependsOn": [{"containerName": "b", "condition": "SUCCESS"}]}, {"essential": False}),
]  # fmt: skip


@pytest.mark.parametrize("request_", SOUND)
def test_a_sound_definition_passes(request_: dict[str, Any]) -> None:
    taskdef_rules.check(request_)
    assert taskdef.document_of(request_)["compatibilities"]
