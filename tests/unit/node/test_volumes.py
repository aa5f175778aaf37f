"""Volumes on disk: files that change in one step, sub paths, host paths, what is left."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from proa.base.errors import CallerFault
from proa.model.sandbox import Container, File, Mount, Network, Sandbox, Volume
from proa.node.ports import Bind, MountError
from proa.node.volumes import DiskVolumes


def sandbox(*volumes: Volume, **fields: Any) -> Sandbox:
    fields.setdefault("network", Network(hostname="web.local"))
    return Sandbox("u", "web", "default", "/k", "i", containers=(), volumes=volumes, **fields)


def mounted(*mounts: Mount) -> Container:
    return Container("main", "image", mounts=mounts)


def find(binds: tuple[Bind, ...], target: str) -> Path:
    return Path(next(bind.source for bind in binds if bind.target == target))


def test_files_are_replaced_by_one_swap(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path)
    old = sandbox(Volume("v", "files", files=(File("a", b"1", 0o400), File("d/b", b"2"))))
    asyncio.run(volumes.prepare(old))
    folder = find(volumes.binds(old, mounted(Mount("v", "/v")), 0, ""), "/v")
    assert (folder / "a").read_bytes() == b"1"
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o400
    before = os.readlink(folder / "..data")
    asyncio.run(volumes.update(old))
    assert os.readlink(folder / "..data") == before
    new = sandbox(Volume("v", "files", files=(File("d/b", b"3"),)))
    asyncio.run(volumes.update(new))
    assert sorted(path.name for path in folder.iterdir() if path.name[:2] != "..") == ["d"]
    assert (folder / "d" / "b").read_bytes() == b"3"
    assert not (folder / before).exists()


def test_files_volumes_are_mounted_read_only(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path)
    wanted = sandbox(Volume("v", "files", files=(File("a", b"1"),)))
    asyncio.run(volumes.prepare(wanted))
    bind = next(b for b in volumes.binds(wanted, mounted(Mount("v", "/v")), 0, "") if b.read_only)
    assert bind.target == "/v"


@pytest.mark.parametrize("path", ["../out", "d/../../out"])
def test_a_file_may_not_leave_its_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(MountError):
        wanted = sandbox(Volume("v", "files", files=(File(path, b"1"),)))
        asyncio.run(DiskVolumes(tmp_path).prepare(wanted))
    assert not list(tmp_path.rglob("out"))


def test_a_sub_path_is_made_but_may_not_leave_its_volume(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path)
    wanted = sandbox(Volume("v"))
    asyncio.run(volumes.prepare(wanted))
    binds = volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="a/b")), 0, "")
    assert find(binds, "/v").is_dir()
    with pytest.raises(CallerFault):
        volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="../../other")), 0, "")
    (tmp_path / "u" / "volumes" / "v" / "link").symlink_to("/etc")
    with pytest.raises(CallerFault):
        volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="link")), 0, "")


def test_an_unknown_volume_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="nothing"):
        DiskVolumes(tmp_path).binds(sandbox(), mounted(Mount("nothing", "/v")), 0, "")


def test_host_paths_are_checked(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path / "agent")
    missing = tmp_path / "missing"
    for kind in ("Directory", "File", "Socket"):
        with pytest.raises(MountError, match="hostPath type check failed"):
            wanted = sandbox(Volume("v", "host", path=str(missing), path_type=kind))
            asyncio.run(volumes.prepare(wanted))
    wanted = sandbox(Volume("v", "host", path=str(missing), path_type="DirectoryOrCreate"))
    asyncio.run(volumes.prepare(wanted))
    assert missing.is_dir()
    asyncio.run(volumes.remove("u"))
    assert missing.is_dir()


def test_hosts_names_the_sandbox_and_its_aliases(tmp_path: Path) -> None:
    network = Network(hostname="web.local", hosts=(("10.0.0.1", ("db", "cache")),))
    wanted = sandbox(network=network)
    binds = DiskVolumes(tmp_path).binds(wanted, mounted(), 0, "10.9.8.7")
    text = find(binds, "/etc/hosts").read_text()
    assert "10.9.8.7\tweb.local web\n" in text
    assert "10.0.0.1\tdb cache\n" in text


def test_a_termination_message_is_read_and_bounded(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path)
    binds = volumes.binds(sandbox(), mounted(), 3, "")
    find(binds, "/dev/termination-log").write_text("x" * 5000)
    assert volumes.termination_message("u", "main", 3) == "x" * 4096
    assert volumes.termination_message("u", "main", 4) == ""


@pytest.mark.root
def test_memory_volumes_are_mounted_and_unmounted(tmp_path: Path) -> None:
    volumes = DiskVolumes(tmp_path)
    wanted = sandbox(Volume("v", medium="Memory", size_limit=1 << 20))
    asyncio.run(volumes.prepare(wanted))
    folder = tmp_path / "u" / "volumes" / "v"
    assert os.path.ismount(folder)
    asyncio.run(volumes.remove("u"))
    assert not folder.exists()
