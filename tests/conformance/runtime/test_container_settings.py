"""What a container may ask for beyond image and command, seen from inside real containers."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest

from proa.model.sandbox import (
    Container,
    Device,
    File,
    Mount,
    Network,
    Sandbox,
    Ulimit,
    Volume,
)
from proa.node.containerd.cgroups import accounts_swap, is_unified
from proa.node.rights import holds_sys_resource
from tests.conformance.runtime.agent_host import FOREVER, Host, sandbox, shell
from tests.conformance.runtime.daemon import BUSYBOX
from tests.conformance.runtime.worlds import ContainerdWorld

pytestmark = pytest.mark.root


async def said(host: Host, wanted: Sandbox, name: str, script: str) -> str:
    """What a command in a running container prints."""
    status = await host.control.until(
        wanted.uid, lambda status: all(item.state == "running" for item in status.containers)
    )
    (id,) = [item.id for item in status.containers if item.name == name]
    done = await host.agent.runtime.exec_sync(id, ("sh", "-c", script), 10)
    return (done.stdout + done.stderr).decode().strip()


def test_limits_kernel_parameters_devices_and_shared_memory(play: Any) -> None:
    async def story(host: Host) -> None:
        spec = shell(
            ulimits=(Ulimit("nofile", 512, 1024), Ulimit("core", 0, 0)),
            devices=(Device("/dev/null", "/dev/other", "r"),),
            shm_size=5 << 20,
            supplemental_groups=(4444,),
        )
        wanted = sandbox(
            "settings", spec, sysctls=(("net.ipv4.ip_unprivileged_port_start", "80"),), fs_group=55
        )
        host.control.want(wanted)
        read = await said(
            host, wanted, "main",
            "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/sys/net/ipv4/ip_unprivileged_port_start;"
            "[ -c /dev/other ] && echo device; df -k /dev/shm | tail -1 | awk '{print $2}'; id -G",
        )  # fmt: skip
        assert read.splitlines() == ["512", "1024", "0", "80", "device", "5120", "0 55 4444"]

    play(story)


@pytest.mark.skipif(holds_sys_resource(), reason="any limit may be set on this machine")
def test_a_limit_above_the_machines_own_is_lowered_with_a_word(play: Any) -> None:
    async def story(host: Host) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = sandbox("lowered", shell(ulimits=(Ulimit("nofile", hard + 1, hard + 1),)))
        host.control.want(wanted)
        assert await said(host, wanted, "main", "ulimit -Hn") == str(hard)
        assert "Unsupported" in host.control.reasons("lowered")

    play(story)


def test_volumes_have_their_options_and_their_group(play: Any) -> None:
    async def story(host: Host) -> None:
        volumes = (
            Volume("fresh", medium="Memory", size_limit=2 << 20),
            Volume("dir"),
            Volume("secret", "files", files=(File("key", b"value", 0o400),)),
            Volume("kept", "shared", path="kept"),
        )
        mounts = (
            Mount("fresh", "/fresh", options=("exec", "mode=1770")),
            Mount("dir", "/dir"),
            Mount("secret", "/secret"),
            Mount("kept", "/kept"),
        )
        spec = shell(mounts=mounts, user="1000:1000")
        wanted = sandbox("volumes", spec, volumes=volumes, fs_group=777)
        host.control.want(wanted)
        read = await said(
            host, wanted, "main",
            "grep ' /fresh ' /proc/mounts; stat -c %a /fresh; touch /dir/a; stat -c '%g' /dir/a;"
            "cat /secret/key; echo; grep -c ' /secret tmpfs ' /proc/mounts",
        )  # fmt: skip
        first, *rest = read.splitlines()
        options = first.split()[3].split(",")
        assert {"rw", "nosuid", "nodev", "size=2048k"} <= set(options)
        assert "noexec" not in options
        assert rest == ["1770", "777", "value", "1"]

    play(story)


def test_an_init_reaps_orphans_and_hands_on_signals_and_status(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "trap 'exit 5' TERM; (sleep 0.2 & ); sleep 0.5; echo begun; " + FOREVER[19:]
        wanted = sandbox("init", shell(script=script, init_process=True, user="1000"))
        host.control.want(wanted)
        read = await said(
            host, wanted, "main",
            "sleep 1; tr '\\0' ' ' </proc/1/cmdline; echo;"
            "cat /proc/[0-9]*/stat 2>/dev/null | awk '$3 == \"Z\"' | wc -l",
        )  # fmt: skip
        first, zombies = read.splitlines()
        assert first.startswith("/dev/proa-init -- sh -c")
        assert zombies == "0"
        host.control.want(wanted, "stop", grace_s=10)
        last = await host.control.gone("init")
        assert last.containers[0].exit_code == 5

    play(story)


def test_a_container_has_a_network_and_names_of_its_own(play: Any) -> None:
    async def story(host: Host) -> None:
        lonely = Network(mode="none", hostname="lonely", hosts=(("10.0.0.8", ("peer",)),))
        wanted = sandbox(
            "bridge",
            shell("main"),
            shell("side", network=lonely, sysctls=(("net.ipv4.ip_default_ttl", "77"),)),
        )
        host.control.want(wanted)
        look = "hostname; cat /etc/hostname; ls /sys/class/net; cat /etc/hosts | tail -1"
        first = await said(host, wanted, "main", look)
        assert first.splitlines() == ["host-bridge", "host-bridge", "eth0", "lo", "nowhere",
                                      "10.77.0.7\thost-bridge"]  # fmt: skip
        look += "; cat /proc/sys/net/ipv4/ip_default_ttl; echo $HOSTNAME"
        second = await said(host, wanted, "side", look)
        assert second.splitlines() == ["lonely", "lonely", "lo", "10.0.0.8\tpeer", "77", "lonely"]

    play(story)


@pytest.mark.skipif(not accounts_swap(), reason="the kernel does not account for swap")
def test_swap_is_limited_beside_memory(play: Any, containerd: ContainerdWorld) -> None:
    async def story(host: Host) -> None:
        spec = shell(memory_limit=32 << 20, swap_limit=8 << 20, swappiness=10)
        wanted = sandbox("swap", spec)
        host.control.want(wanted)
        seen = await host.control.running("swap")
        groups = Path(f"/proc/{seen.pid}/cgroup").read_text().splitlines()
        if is_unified():
            own = Path("/sys/fs/cgroup") / groups[0].split(":")[2].lstrip("/")
            assert (own / "memory.swap.max").read_text().strip() == str(8 << 20)
            return
        (line,) = [line for line in groups if ":memory:" in line]
        own = Path("/sys/fs/cgroup/memory") / line.split(":")[2].lstrip("/")
        assert (own / "memory.memsw.limit_in_bytes").read_text().strip() == str(40 << 20)
        assert (own / "memory.swappiness").read_text().strip() == "10"

    play(story)


def test_seccomp_is_the_runtimes_or_none_or_a_profile_of_the_host(
    play: Any, containerd: ContainerdWorld
) -> None:
    folder = containerd.daemon.layout.seccomp_dir
    folder.mkdir(exist_ok=True)
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"],'
    (folder / "no-mkdir.json").write_text(profile + ' "action": "SCMP_ACT_ERRNO"}]}')

    async def story(host: Host) -> None:
        containers: list[Container] = [
            shell("default"),
            shell("open", seccomp="unconfined"),
            shell("local", seccomp="localhost/no-mkdir.json"),
        ]
        wanted = sandbox("seccomp", *containers)
        host.control.want(wanted)
        look = "grep Seccomp: /proc/self/status | cut -f2; mkdir /made 2>&1 && echo made"
        assert await said(host, wanted, "default", look) == "2\nmade"
        assert (await said(host, wanted, "open", look)).splitlines()[-1] == "made"
        assert "not permitted" in await said(host, wanted, "local", look)
        for path in ("absent.json", "../c.sock"):
            uid = f"seccomp-{path[0]}"
            host.control.want(sandbox(uid, shell(seccomp=f"localhost/{path}")))
            await host.control.until(
                uid, lambda status: status.containers[0].reason == "CreateContainerError"
            )

    play(story)


def test_the_end_of_the_log_is_the_message_of_a_container_that_failed(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "for i in $(seq 100); do echo line $i; done; exit 3"
        words = Container(
            "loud", BUSYBOX, entrypoint=("sh", "-c", script), termination_message_from_logs=True
        )
        written = shell("written", "echo file >/dev/termination-log; echo log; exit 3",
                        termination_message_from_logs=True)  # fmt: skip
        silent = shell("silent", "echo nothing; exit 3")
        host.control.want(sandbox("message", words, written, silent))
        status = await host.control.until("message", lambda status: status.containers[0].message)
        loud, file, none = status.containers
        assert loud.message.splitlines() == [f"line {number}" for number in range(21, 101)]
        assert (file.message, none.message) == ("file\n", "")

    play(story)


def test_a_task_has_its_part_of_the_cpu_as_soon_as_it_runs_also_under_a_new_agent(
    play: Any,
) -> None:
    async def story(host: Host) -> None:
        wanted = sandbox("share", shell(), cpu_quota=32_000)
        host.control.want(wanted)
        seen = await host.control.running("share")
        limit, weight = cpu_files(seen.pid)
        assert limit.read_text().split()[0] == "25000"
        expected = "10" if is_unified() else "256"
        assert weight.read_text().strip() == expected
        limit.write_text("max" if is_unified() else "-1")  # the agent was killed before
        weight.write_text("100")
        await host.stop()
        await host.start()
        for _ in range(100):
            if limit.read_text().split()[0] == "25000":
                break
            await asyncio.sleep(0.05)
        assert limit.read_text().split()[0] == "25000"
        assert weight.read_text().strip() == expected

    play(story)


def cpu_files(pid: int) -> tuple[Path, Path]:
    """The limit and the weight of the Sandbox that a process is in."""
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    root = Path("/sys/fs/cgroup")
    if is_unified():
        own = (root / groups[0].split(":")[2].lstrip("/")).parent
        return own / "cpu.max", own / "cpu.weight"
    (line,) = [line for line in groups if "cpu" in line.split(":")[1].split(",")]
    own = (root / "cpu" / line.split(":")[2].lstrip("/")).parent
    return own / "cpu.cfs_quota_us", own / "cpu.shares"
