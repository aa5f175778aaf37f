"""Volumes and mount points."""

from __future__ import annotations

from collections.abc import Iterator

from proa.aws.ecs.names import NAME
from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, is_fargate

KINDS = (
    "dockerVolumeConfiguration", "efsVolumeConfiguration", "s3filesVolumeConfiguration",
    "fsxWindowsFileServerVolumeConfiguration",
)  # fmt: skip


def rules(request: Document) -> Iterator[str]:
    """The volumes, then where containers see them."""
    volumes: set[str] = set()
    at_launch = 0
    for volume in request.get("volumes") or []:
        name = volume.get("name") or ""
        if not NAME.match(name):
            yield f"Volume name '{name}' is not valid."
        if name in volumes:
            yield f"Volume '{name}' is defined more than once."
        volumes.add(name)
        at_launch += bool(volume.get("configuredAtLaunch"))
        yield from _kind(request, name, volume)
    if at_launch > 1:
        yield "Only one volume of a task definition may be configured at launch."
    yield from _mounts(request, volumes)


def _kind(request: Document, name: str, volume: Document) -> Iterator[str]:
    kinds = [member for member in KINDS if volume.get(member)]
    source = (volume.get("host") or {}).get("sourcePath")
    if len(kinds) + bool(source) + bool(volume.get("configuredAtLaunch")) > 1:
        yield f"Volume '{name}' may be configured in one way only."
    if source is not None and not source.startswith("/"):
        yield f"Volume '{name}': the sourcePath must be an absolute path."
    docker = volume.get("dockerVolumeConfiguration") or {}
    if docker.get("autoprovision") is not None and docker.get("scope") != "shared":
        yield f"Volume '{name}': autoprovision is only used if the scope is shared."
    yield from _efs(name, volume.get("efsVolumeConfiguration") or {})
    if volume.get("s3filesVolumeConfiguration") and not request.get("taskRoleArn"):
        yield f"Volume '{name}': an S3 Files file system requires a task role."
    if volume.get("fsxWindowsFileServerVolumeConfiguration") and is_fargate(request):
        yield "Fargate compatible task definitions do not support FSx for Windows File Server."


def _efs(name: str, efs: Document) -> Iterator[str]:
    authorization = efs.get("authorizationConfig") or {}
    point = authorization.get("accessPointId")
    if (point or authorization.get("iam") == "ENABLED") and efs.get(
        "transitEncryption"
    ) != "ENABLED":
        yield (
            f"Volume '{name}': transit encryption must be turned on in the EFSVolumeConfiguration."
        )
    if point and efs.get("rootDirectory") not in (None, "", "/"):
        yield (
            f"Volume '{name}': the root directory must be omitted or set to / with an access point."
        )


def _mounts(request: Document, volumes: set[str]) -> Iterator[str]:
    names = {name for name, _ in containers_of(request)}
    for name, container in containers_of(request):
        paths: set[str] = set()
        for mount in container.get("mountPoints") or []:
            path = mount.get("containerPath") or ""
            if mount.get("sourceVolume") not in volumes:
                yield f"Unknown volume '{mount.get('sourceVolume')}'."
            if not path.startswith("/"):
                yield f"Invalid 'containerPath' for a mount point of container '{name}'."
            if path in paths:
                yield invalid("mountPoints", name, f"'{path}' is mounted more than once.")
            paths.add(path)
        for source in container.get("volumesFrom") or []:
            other = source.get("sourceContainer")
            if other not in names or other == name:
                yield invalid("volumesFrom", name, f"'{other}' is not another container.")
