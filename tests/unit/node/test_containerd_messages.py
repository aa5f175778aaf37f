"""What containerd is told: its configuration and CRI's messages for Sandboxes and containers."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from proa.base.clock import VirtualClock
from proa.base.errors import CallerFault
from proa.model.sandbox import Container, Device, Dns, Network, Sandbox
from proa.node.containerd.config import Layout, hosts_toml, render, write
from proa.node.containerd.native import Native
from proa.node.containerd.spec import (
    CPU_LABEL,
    container_config,
    cpu_of,
    quota_us,
    sandbox_config,
)
from proa.node.ports import Bind, ContainerSpec, ImageInfo, SandboxSpec
from proa.pb import containerd_events_pb2 as events_pb
from proa.pb import cri_pb2 as cri

CPU = 128_000


def messages(container: Container, **fields: Any) -> tuple[Any, Any]:
    """(sandbox message, container message)."""
    sandbox = Sandbox("u", "web", "default", "/k", "i-1", containers=(container,), **fields)
    whole = SandboxSpec(sandbox, 2, "/logs/u")
    spec = ContainerSpec(whole, container, 1, ImageInfo("sha256:1"), (Bind("/a", "/b"),), "c/1.log")
    return sandbox_config(whole, "/proa-t"), container_config(sandbox, spec)


def test_the_configuration_is_toml_with_our_own_paths(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "c.sock", "http://127.0.0.1:4510")
    write(layout)
    settings = tomllib.loads(layout.config_file.read_text())
    assert settings["root"].startswith(str(tmp_path))
    assert settings["grpc"]["address"] == str(tmp_path / "c.sock")
    hosts = layout.registry_dir / "docker.io" / "hosts.toml"
    assert "http://127.0.0.1:4510" in tomllib.loads(hosts.read_text())["host"]
    assert (layout.registry_dir / "_default" / "hosts.toml").exists()
    write(layout)


def test_oom_scores_are_restricted_where_the_capability_is_missing(tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "c.sock", "http://127.0.0.1:4510")
    cri_settings = tomllib.loads(render(layout, True))["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri_settings["restrict_oom_score_adj"] is True


def test_a_mirror_stands_before_its_upstream() -> None:
    parsed = tomllib.loads(hosts_toml("http://127.0.0.1:1", "https://quay.io"))
    assert parsed["server"] == "https://quay.io"
    assert parsed["host"]["http://127.0.0.1:1"]["capabilities"] == ["pull", "resolve"]


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="107"):
        write(Layout(tmp_path, tmp_path / ("x" * 120), "http://127.0.0.1:1"))


def test_identity_is_in_the_labels() -> None:
    sandbox, container = messages(Container("main", "image"), labels=(("app", "x"),))
    assert sandbox.metadata.attempt == 2
    assert sandbox.labels["io.kubernetes.pod.uid"] == "u"
    assert sandbox.labels["app"] == "x"
    assert container.metadata.attempt == 1
    assert container.labels["io.kubernetes.container.name"] == "main"
    assert sandbox.linux.cgroup_parent == "/proa-t/i-1/u"


def test_a_container_keeps_the_images_command_unless_told_otherwise() -> None:
    _, plain = messages(Container("main", "image"))
    assert (list(plain.command), list(plain.args)) == ([], [])
    _, told = messages(Container("main", "image", entrypoint=("a",), arguments=("b", "c")))
    assert (list(told.command), list(told.args)) == (["a"], ["b", "c"])


@pytest.mark.parametrize(
    ("quota", "expected"), [(0, 0), (CPU, 100_000), (CPU // 2, 50_000), (1, 1_000)]
)
def test_a_cpu_limit_becomes_a_quota(quota: int, expected: int) -> None:
    assert quota_us(quota) == expected


def test_a_containers_quota_never_exceeds_its_sandboxes() -> None:
    _, message = messages(Container("main", "image", cpu_quota=4 * CPU), cpu_quota=CPU)
    assert message.linux.resources.cpu_quota == 100_000
    _, free = messages(Container("main", "image"), cpu_quota=CPU)
    assert free.linux.resources.cpu_quota == 0


def test_containers_are_confined_unless_privileged() -> None:
    _, plain = messages(Container("main", "image", allow_privilege_escalation=False))
    security = plain.linux.security_context
    assert security.no_new_privs
    assert security.seccomp.profile_type == cri.SecurityProfile.RuntimeDefault
    assert "/proc/kcore" in security.masked_paths
    sandbox, free = messages(Container("main", "image", privileged=True))
    assert free.linux.security_context.seccomp.profile_type == cri.SecurityProfile.Unconfined
    assert sandbox.linux.security_context.privileged


def test_capabilities_are_named_without_their_prefix() -> None:
    wanted = Container("main", "image", add_capabilities=("CAP_NET_ADMIN", "sys_time"))
    _, message = messages(wanted)
    assert list(message.linux.security_context.capabilities.add_capabilities) == [
        "NET_ADMIN",
        "SYS_TIME",
    ]


@pytest.mark.parametrize(
    ("user", "uid", "gid", "name"),
    [("", 0, 0, ""), ("7", 7, 0, ""), ("7:8", 7, 8, ""), ("web", 0, 0, "web")],
)
def test_users_are_numbers_or_names(user: str, uid: int, gid: int, name: str) -> None:
    _, message = messages(Container("main", "image", user=user))
    security = message.linux.security_context
    assert security.run_as_user.value == uid
    assert security.run_as_group.value == gid
    assert security.run_as_username == name


def test_a_group_by_name_is_refused() -> None:
    with pytest.raises(CallerFault):
        messages(Container("main", "image", user="7:staff"))


def test_namespaces_follow_the_sandbox() -> None:
    host = Network(mode="host", hostname="ignored")
    sandbox, container = messages(Container("main", "image"), network=host, share_pid=True)
    options = container.linux.security_context.namespace_options
    assert (options.network, options.pid, options.ipc) == (cri.NODE, cri.POD, cri.POD)
    assert sandbox.hostname == ""


def test_names_are_resolved_as_the_sandbox_says() -> None:
    network = Network(dns=Dns(("10.0.0.2",), ("svc.cluster.local",), ("ndots:5",)))
    sandbox, _ = messages(Container("main", "image"), network=network)
    assert list(sandbox.dns_config.servers) == ["10.0.0.2"]
    plain, _ = messages(Container("main", "image"))
    assert not plain.HasField("dns_config")


@pytest.mark.parametrize(
    ("containers", "quota", "expected"),
    [
        ([Container("a", "i", cpu_shares=256), Container("b", "i", cpu_shares=512)], 0, (0, 768)),
        ([Container("a", "i")], 0, (0, 2)),
        ([Container("a", "i")], CPU // 4, (CPU // 4, 256)),
        ([Container("x", "i", init=True, cpu_shares=900), Container("a", "i")], 0, (0, 900)),
        (
            [
                Container("s", "i", init=True, restart="Always", cpu_shares=100),
                Container("a", "i", cpu_shares=100),
            ],
            0,
            (0, 200),
        ),
    ],
)
def test_a_sandbox_weighs_what_its_containers_ask_for_together(
    containers: list[Container], quota: int, expected: tuple[int, int]
) -> None:
    wanted = Sandbox("u", "n", "d", "/k", "i", containers=tuple(containers), cpu_quota=quota)
    message = sandbox_config(SandboxSpec(wanted, 0, "/logs"), "/proa-t")
    assert cpu_of(message.labels[CPU_LABEL]) == expected
    assert cpu_of("nonsense") == (0, 0)


def test_the_pause_process_is_confined_where_containers_can_reach_it() -> None:
    kinds = cri.SecurityProfile
    for fields, kind in (
        ({}, kinds.Unconfined),
        ({"share_pid": True}, kinds.RuntimeDefault),
    ):
        sandbox, _ = messages(Container("main", "image"), **fields)
        assert sandbox.linux.security_context.seccomp.profile_type == kind


def test_groups_devices_and_propagation_reach_the_container() -> None:
    device = Device("/dev/null", "/dev/other", "rw")
    container = Container("c", "i", supplemental_groups=(7, 5), devices=(device,), stdin_once=True)
    sandbox = Sandbox("u", "n", "d", "/k", "i", containers=(container,), fs_group=5)
    whole = SandboxSpec(sandbox, 0, "/logs")
    binds = (Bind("/a", "/b", propagation="Bidirectional"), Bind("t", "/t", tmpfs=("rw",)))
    spec = ContainerSpec(whole, container, 0, ImageInfo("sha256:1"), binds, "c/0.log")
    message = container_config(sandbox, spec)
    assert list(message.linux.security_context.supplemental_groups) == [7, 5]
    assert [(item.container_path, item.permissions) for item in message.devices] == [
        ("/dev/other", "rw")
    ]
    assert [item.propagation for item in message.mounts] == [cri.PROPAGATION_BIDIRECTIONAL]
    assert message.stdin_once


def test_a_profile_of_the_host_stays_in_its_folder(tmp_path: Path) -> None:
    for name, fine in (("a/b.json", True), ("../b.json", False), ("/etc/passwd", False)):
        container = Container("c", "i", seccomp=f"localhost/{name}")
        sandbox = Sandbox("u", "n", "d", "/k", "i", containers=(container,))
        spec = ContainerSpec(
            SandboxSpec(sandbox, 0, "/l"), container, 0, ImageInfo("sha256:1"), (), "c/0.log"
        )
        if not fine:
            with pytest.raises(CallerFault):
                container_config(sandbox, spec, tmp_path)
            continue
        message = container_config(sandbox, spec, tmp_path)
        assert message.linux.security_context.seccomp.localhost_ref == f"{tmp_path}/{name}"


def test_a_kill_for_memory_is_told_whichever_word_comes_first() -> None:
    def word(topic: str, event: Message) -> events_pb.Envelope:
        packed = AnyMessage(value=event.SerializeToString())
        return events_pb.Envelope(topic=topic, event=packed)

    def exit_of(id: str, code: int) -> events_pb.Envelope:
        return word("/tasks/exit", events_pb.TaskExit(container_id=id, id=id, exit_status=code))

    def kill_of(id: str) -> events_pb.Envelope:
        return word("/tasks/oom", events_pb.TaskOOM(container_id=id))

    async def told(*words: events_pb.Envelope) -> list[tuple[str, int, bool]]:
        async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
            native = Native(channel, VirtualClock(), Path("/nowhere"))
            events = [native.exit_told_by(item) for item in words]
        return [(event.id, event.exit_code, event.oom) for event in events if event is not None]

    assert asyncio.run(told(kill_of("a"), exit_of("a", 137))) == [("a", 137, True)]
    assert asyncio.run(told(exit_of("a", 137), kill_of("b"), kill_of("a"), kill_of("a"))) == [
        ("a", 137, False),
        ("a", 137, True),
    ]
    assert asyncio.run(told(exit_of("a", 0), kill_of("a"))) == [("a", 0, False)]
