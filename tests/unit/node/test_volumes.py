"""Volumes on disk: files that change in one step, sub paths, host paths, what is left."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proa.base.errors import CallerFault
from proa.model.sandbox import Container, Dns, File, Mount, Network, Sandbox, Volume
from proa.node.mounts import unmount
from proa.node.ports import Bind, MountError
from proa.node.volumes import DiskVolumes


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[DiskVolumes]:
    made = DiskVolumes(tmp_path / "sandboxes", tmp_path / "shared")
    yield made
    asyncio.run(made.remove("u"))
    assert not [line for line in Path("/proc/mounts").read_text().split() if str(tmp_path) in line]


def sandbox(*volumes: Volume, **fields: Any) -> Sandbox:
    fields.setdefault("network", Network(hostname="web.local"))
    return Sandbox("u", "web", "default", "/k", "i", containers=(), volumes=volumes, **fields)


def mounted(*mounts: Mount) -> Container:
    return Container("main", "image", mounts=mounts)


def find(binds: tuple[Bind, ...], target: str) -> Path:
    return Path(next(bind.source for bind in binds if bind.target == target))


@pytest.mark.root
def test_files_are_replaced_by_one_swap(volumes: DiskVolumes, tmp_path: Path) -> None:
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


@pytest.mark.root
def test_files_volumes_are_mounted_read_only(volumes: DiskVolumes, tmp_path: Path) -> None:
    wanted = sandbox(Volume("v", "files", files=(File("a", b"1"),)))
    asyncio.run(volumes.prepare(wanted))
    bind = next(b for b in volumes.binds(wanted, mounted(Mount("v", "/v")), 0, "") if b.read_only)
    assert bind.target == "/v"


@pytest.mark.root
@pytest.mark.parametrize("path", ["../out", "d/../../out"])
def test_a_file_may_not_leave_its_volume(volumes: DiskVolumes, tmp_path: Path, path: str) -> None:
    with pytest.raises(MountError):
        wanted = sandbox(Volume("v", "files", files=(File(path, b"1"),)))
        asyncio.run(volumes.prepare(wanted))
    assert not list(tmp_path.rglob("out"))


def test_a_sub_path_is_made_but_may_not_leave_its_volume(
    volumes: DiskVolumes, tmp_path: Path
) -> None:
    wanted = sandbox(Volume("v"))
    asyncio.run(volumes.prepare(wanted))
    binds = volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="a/b")), 0, "")
    assert find(binds, "/v").is_dir()
    with pytest.raises(CallerFault):
        volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="../../other")), 0, "")
    (tmp_path / "sandboxes" / "u" / "volumes" / "v" / "link").symlink_to("/etc")
    with pytest.raises(CallerFault):
        volumes.binds(wanted, mounted(Mount("v", "/v", sub_path="link")), 0, "")


def test_an_unknown_volume_is_the_callers_fault(volumes: DiskVolumes, tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="nothing"):
        volumes.binds(sandbox(), mounted(Mount("nothing", "/v")), 0, "")


def test_host_paths_are_checked(volumes: DiskVolumes, tmp_path: Path) -> None:
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


def test_hosts_names_the_sandbox_and_its_aliases(volumes: DiskVolumes, tmp_path: Path) -> None:
    network = Network(hostname="web.local", hosts=(("10.0.0.1", ("db", "cache")),))
    wanted = sandbox(network=network)
    binds = volumes.binds(wanted, mounted(), 0, "10.9.8.7")
    text = find(binds, "/etc/hosts").read_text()
    assert "10.9.8.7\tweb.local web\n" in text
    assert "10.0.0.1\tdb cache\n" in text


def test_a_termination_message_is_read_and_bounded(volumes: DiskVolumes, tmp_path: Path) -> None:
    binds = volumes.binds(sandbox(), mounted(), 3, "")
    find(binds, "/dev/termination-log").write_text("x" * 5000)
    assert volumes.termination_message("u", "main", 3) == "x" * 4096
    assert volumes.termination_message("u", "main", 4) == ""


@pytest.mark.root
def test_memory_volumes_are_mounted_and_unmounted(volumes: DiskVolumes, tmp_path: Path) -> None:
    wanted = sandbox(Volume("v", medium="Memory", size_limit=1 << 20))
    asyncio.run(volumes.prepare(wanted))
    folder = tmp_path / "sandboxes" / "u" / "volumes" / "v"
    assert os.path.ismount(folder)
    asyncio.run(volumes.remove("u"))
    assert not folder.exists()


@pytest.mark.root
def test_files_lie_on_a_tmpfs_that_comes_back_when_it_is_lost(
    volumes: DiskVolumes, tmp_path: Path
) -> None:
    wanted = sandbox(Volume("v", "files", files=(File("secret", b"1"),)))
    asyncio.run(volumes.prepare(wanted))
    top = tmp_path / "sandboxes" / "u" / "files"
    assert os.path.ismount(top)
    unmount(top)  # as a reboot does
    assert list(top.iterdir()) == []
    asyncio.run(volumes.prepare(wanted))
    assert os.path.ismount(top)
    folder = find(volumes.binds(wanted, mounted(Mount("v", "/v")), 0, ""), "/v")
    assert (folder / "secret").read_bytes() == b"1"


@pytest.mark.root
def test_volumes_belong_to_the_group_of_their_sandbox(volumes: DiskVolumes) -> None:
    files = (File("deep/secret", b"1", 0o400),)
    wanted = sandbox(Volume("v", "files", files=files), Volume("e"), fs_group=4242)
    for _ in range(2):
        asyncio.run(volumes.prepare(wanted))
    container = mounted(Mount("v", "/v"), Mount("e", "/e"))
    binds = volumes.binds(wanted, container, 0, "")
    seen = (find(binds, "/v") / "deep" / "secret").stat()
    assert (seen.st_gid, stat.S_IMODE(seen.st_mode)) == (4242, 0o440)
    for folder in (find(binds, "/v"), find(binds, "/v") / "deep", find(binds, "/e")):
        seen = folder.stat()
        assert seen.st_gid == 4242
        assert seen.st_mode & stat.S_ISGID
    before = os.readlink(find(binds, "/v") / "..data")
    asyncio.run(volumes.update(wanted))
    assert os.readlink(find(binds, "/v") / "..data") == before


def test_shared_volumes_outlive_their_sandbox_and_stay_on_their_instance(
    volumes: DiskVolumes,
) -> None:
    wanted = sandbox(Volume("v", "shared", path="data"))
    asyncio.run(volumes.prepare(wanted))
    folder = find(volumes.binds(wanted, mounted(Mount("v", "/v")), 0, ""), "/v")
    (folder / "kept").write_text("x")
    asyncio.run(volumes.remove("u"))
    assert (folder / "kept").exists()
    elsewhere = msgspec.structs.replace(wanted, instance="i-2")
    asyncio.run(volumes.prepare(elsewhere))
    other = find(volumes.binds(elsewhere, mounted(Mount("v", "/v")), 0, ""), "/v")
    assert not (other / "kept").exists()
    with pytest.raises(CallerFault):
        volumes.binds(
            sandbox(Volume("v", "shared", path="../i-2")), mounted(Mount("v", "/")), 0, ""
        )
    with pytest.raises(MountError, match="does not exist"):
        absent = sandbox(Volume("v", "shared", path="absent", path_type="Directory"))
        asyncio.run(volumes.prepare(absent))


def test_a_tmpfs_with_options_is_the_containers_own(volumes: DiskVolumes) -> None:
    wanted = sandbox(Volume("v", medium="Memory", size_limit=4096))
    container = mounted(Mount("v", "/v", options=("exec", "mode=1777")))
    wanted = msgspec.structs.replace(wanted, containers=(container,))
    asyncio.run(volumes.prepare(wanted))
    bind = next(bind for bind in volumes.binds(wanted, container, 0, "") if bind.target == "/v")
    assert bind.tmpfs == ("exec", "mode=1777", "size=4096")
    assert bind.source == "tmpfs"


def test_a_container_with_a_network_of_its_own_has_its_own_names(volumes: DiskVolumes) -> None:
    own = Network(
        address="10.0.0.7",
        hostname="side",
        hosts=(("10.0.0.8", ("peer",)),),
        dns=Dns(("10.0.0.2",), ("internal",), ("ndots:2",)),
    )
    container = msgspec.structs.replace(mounted(), network=own)
    binds = volumes.binds(sandbox(), container, 0, "10.0.0.1")
    hosts = find(binds, "/etc/hosts").read_text()
    assert "10.0.0.7\tside\n" in hosts
    assert "10.0.0.8\tpeer\n" in hosts
    assert "10.0.0.1" not in hosts
    assert find(binds, "/etc/hostname").read_text() == "side\n"
    resolver = "nameserver 10.0.0.2\nsearch internal\noptions ndots:2\n"
    assert find(binds, "/etc/resolv.conf").read_text() == resolver


def test_extra_hosts_of_the_hosts_network_follow_its_own(volumes: DiskVolumes) -> None:
    wanted = sandbox(network=Network(mode="host"))
    targets = {bind.target for bind in volumes.binds(wanted, mounted(), 0, "")}
    assert "/etc/hosts" not in targets
    wanted = sandbox(network=Network(mode="host", hosts=(("10.0.0.8", ("peer",)),)))
    text = find(volumes.binds(wanted, mounted(), 0, ""), "/etc/hosts").read_text()
    assert text.startswith(Path("/etc/hosts").read_text().rstrip())
    assert text.endswith("10.0.0.8\tpeer\n")


def test_names_that_a_container_has_spoilt_are_written_anew(
    volumes: DiskVolumes, tmp_path: Path
) -> None:
    box = sandbox()
    hosts = find(volumes.binds(box, mounted(), 0, "10.0.0.9"), "/etc/hosts")
    whole = hosts.read_bytes()
    for spoilt in (b"\xff\xfe", whole + b"more"):
        hosts.write_bytes(spoilt)
        volumes.binds(box, mounted(), 1, "10.0.0.9")
        assert hosts.read_bytes() == whole
