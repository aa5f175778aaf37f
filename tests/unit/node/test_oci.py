"""Changes of an OCI spec between create and start: what CRI has no words for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proa.model.sandbox import Container, Network, Sandbox, Ulimit
from proa.node.containerd.oci import INIT_PATH, Patch, patch_of, tmpfs_options
from proa.node.containerd.seccomp import RuntimeProfiles
from proa.node.ports import Bind, ContainerSpec, ImageInfo, SandboxSpec


def oci(**fields: Any) -> dict[str, Any]:
    """As much of a spec as the changes look at."""
    return {
        "process": {
            "args": ["sleep", "1"],
            "env": ["PATH=/bin", "HOSTNAME=pod"],
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}],
        },
        "hostname": "pod",
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "type": "tmpfs"},
            {"destination": "/dev/shm", "type": "bind", "source": "/run/shm"},
            {"destination": "/data/deep", "type": "bind", "source": "/x"},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/a"}, {"type": "uts"}],
            "resources": {"memory": {"limit": 100}},
            **fields,
        },
    }


def patch(container: Container, *binds: Bind, host_namespace: str = "", path: str = "") -> Patch:
    sandbox = Sandbox("u", "web", "default", "/k", "i-1", containers=(container,))
    whole = SandboxSpec(sandbox, 0, "/logs", host_namespace)
    spec = ContainerSpec(whole, container, 0, ImageInfo("sha256:1"), binds, "c/0.log", path)
    return patch_of(spec, "/host/init")


def test_an_ordinary_container_needs_no_change() -> None:
    ordinary = patch(Container("c", "image"), Bind("/a", "/b"))
    assert ordinary == Patch()
    spec = oci()
    ordinary.apply(spec)
    assert spec == oci()


def test_namespaces_are_replaced_and_named() -> None:
    own = Network(mode="none", hostname="side")
    changes = patch(Container("c", "image", network=own), path="/ns/c", host_namespace="/ns/i")
    spec = oci(namespaces=[{"type": "network", "path": "/a"}, {"type": "uts", "path": "/b"}])
    changes.apply(spec)
    assert spec["linux"]["namespaces"] == [
        {"type": "network", "path": "/ns/c"},
        {"type": "uts"},
    ]
    assert spec["hostname"] == "side"
    assert spec["process"]["env"] == ["PATH=/bin", "HOSTNAME=side"]


def test_the_instances_namespace_keeps_the_name() -> None:
    spec = oci()
    patch(Container("c", "image"), host_namespace="/ns/i").apply(spec)
    assert {"type": "network", "path": "/ns/i"} in spec["linux"]["namespaces"]
    assert {"type": "uts"} in spec["linux"]["namespaces"]
    assert spec["hostname"] == "pod"


def test_limits_replace_those_of_their_name_and_minus_one_is_unlimited() -> None:
    spec = oci()
    patch(Container("c", "i", ulimits=(Ulimit("nofile", 5, -1), Ulimit("core", 0, 0)))).apply(spec)
    assert spec["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]


def test_kernel_parameters_need_a_namespace_of_the_containers_own() -> None:
    wanted = Container("c", "image", sysctls=(("net.a", "1"),))
    assert patch(wanted) == Patch()
    spec = oci(sysctl={"net.b": "2"})
    own = msgspec.structs.replace(wanted, network=Network(mode="none"))
    patch(own, path="/ns/c").apply(spec)
    assert spec["linux"]["sysctl"] == {"net.b": "2", "net.a": "1"}


def test_mounts_are_put_where_they_hide_nothing() -> None:
    spec = oci()
    container = Container("c", "image", shm_size=4096, init_process=True)
    patch(container, Bind("tmpfs", "/data", tmpfs=("size=1", "exec"))).apply(spec)
    order = [mount["destination"] for mount in spec["mounts"]]
    assert order == ["/proc", "/dev", "/dev/shm", "/data", "/data/deep", INIT_PATH]
    shm, data = spec["mounts"][2], spec["mounts"][3]
    assert (shm["type"], shm["options"][-1]) == ("tmpfs", "size=4096")
    assert data["options"] == ["nosuid", "nodev", "size=1", "exec"]
    assert spec["process"]["args"] == [INIT_PATH, "--", "sleep", "1"]


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        ((), ("nosuid", "noexec", "nodev")),
        (("defaults", "bind", "mode"), ("nosuid", "noexec", "nodev")),
        (("suid", "dev", "exec"), ("suid", "dev", "exec")),
        (("noexec", "mode=1777"), ("nosuid", "noexec", "nodev", "mode=1777")),
    ],
)
def test_options_of_a_tmpfs_stand_over_the_defaults(
    wanted: tuple[str, ...], options: tuple[str, ...]
) -> None:
    assert tmpfs_options(wanted) == options


@pytest.mark.parametrize(
    ("fields", "memory"),
    [
        ({"memory_limit": 100, "swap_limit": 50, "swappiness": 7}, (150, 7)),
        ({"memory_limit": 100, "swap_limit": 0}, (100, None)),
        ({"swap_limit": 50}, (None, None)),
    ],
)
def test_swap_counts_on_top_of_memory(
    fields: dict[str, int], memory: tuple[int | None, int | None]
) -> None:
    spec = oci()
    patch(Container("c", "image", **fields)).apply(spec)  # type: ignore[arg-type]
    seen = spec["linux"]["resources"]["memory"]
    assert (seen.get("swap"), seen.get("swappiness")) == memory


def test_the_group_of_a_named_user_is_set_and_a_tmpfs_may_be_read_only() -> None:
    spec = oci()
    spec["process"]["user"] = {"uid": 5, "gid": 5}
    bind = Bind("tmpfs", "/t", read_only=True, tmpfs=("size=1",))
    patch(Container("c", "image", user="nobody:77"), bind).apply(spec)
    assert spec["process"]["user"] == {"uid": 5, "gid": 77}
    assert spec["mounts"][-1]["options"][-1] == "ro"
    assert patch(Container("c", "image", user="5:77")) == Patch()


def test_the_runtimes_profile_is_learned_once_for_a_set_of_capabilities(tmp_path: Path) -> None:
    profiles = RuntimeProfiles(tmp_path / "p")
    plain, able = Container("c", "i"), Container("c", "i", add_capabilities=("NET_ADMIN",))
    assert profiles.wanted(plain)
    assert profiles.path(plain) is None
    made = {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "a": 1}
    profiles.learn(plain, {"linux": {"seccomp": made}})
    path = profiles.path(plain)
    assert path is not None
    assert json.loads(path.read_text()) == {**made, "architectures": made["architectures"][:2]}  # type: ignore[index]
    assert not profiles.wanted(plain)
    assert profiles.wanted(able)
    for fields in ({"privileged": True}, {"seccomp": "unconfined"}):
        assert not profiles.wanted(msgspec.structs.replace(able, **fields))
