"""A task's volumes and where its containers see them. Pure.

Called by compile_task. A nameless bind mount and a Docker volume of scope ``task`` die with the
task; one of scope ``shared`` stays on the Instance under its name; tmpfs mounts are volumes of
one container each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.aws.ecs.records import TaskDefinition
from proa.base.quantity import MIB
from proa.model.sandbox import Mount, Volume

Document = dict[str, Any]


def volumes(definition: TaskDefinition, containers: Sequence[Document]) -> tuple[Volume, ...]:
    """Every volume that the task's containers may mount."""
    declared = [_volume(volume) for volume in definition.document["volumes"]]
    memory = [
        Volume(_tmpfs_name(item, index), "empty", "Memory", mount["size"] * MIB)
        for item in containers
        for index, mount in enumerate(_tmpfs(item))
    ]
    return (*declared, *memory)


def _volume(volume: Document) -> Volume:
    name = volume["name"]
    source = (volume.get("host") or {}).get("sourcePath")
    if source:
        return Volume(name, "host", path=source, path_type="DirectoryOrCreate")
    docker = volume.get("dockerVolumeConfiguration") or {}
    if docker.get("scope") == "shared":
        present = "" if docker.get("autoprovision") else "Directory"
        return Volume(name, "shared", path=name, path_type=present)
    return Volume(name)


def mounts(item: Document, containers: Sequence[Document]) -> tuple[Mount, ...]:
    """A container's mounts: its own first, then what ``volumesFrom`` adds at other paths."""
    found: dict[str, Mount] = {}
    for mount in _declared(item, {other["name"]: other for other in containers}, ()):
        found.setdefault(mount.path, mount)
    return (*found.values(), *_tmpfs_mounts(item))


def _declared(item: Document, by_name: dict[str, Document], seen: tuple[str, ...]) -> list[Mount]:
    own = [
        Mount(mount["sourceVolume"], mount["containerPath"], bool(mount.get("readOnly")))
        for mount in item["mountPoints"]
    ]
    for source in item["volumesFrom"]:
        name = source["sourceContainer"]
        if name in seen:
            continue
        own += [
            Mount(mount.volume, mount.path, mount.read_only or bool(source.get("readOnly")))
            for mount in _declared(by_name[name], by_name, (*seen, item["name"]))
        ]
    return own


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
            options=tuple(mount.get("mountOptions") or ()),
        )
        for index, mount in enumerate(_tmpfs(item))
    )
