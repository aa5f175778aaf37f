"""The whole agent over a real containerd: what runs, what survives which death, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from proa.model.sandbox import File, HttpProbe, LogSink, Mount, Probe, Sandbox, Volume
from tests.conformance.runtime.agent_host import FOREVER, Host, alive, sandbox, shell
from tests.conformance.runtime.daemon import INSTANCE
from tests.conformance.runtime.worlds import ContainerdWorld

pytestmark = pytest.mark.root


def test_a_sandbox_runs_is_stopped_and_leaves_nothing(
    play: Any, containerd: ContainerdWorld
) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("life", shell()))
        seen = await host.control.running("life")
        assert Path(f"/proc/{seen.pid}").exists()
        assert host.control.reasons("life") == ["Pulled", "Created", "Started"]
        host.control.want(sandbox("life", shell()), "stop", grace_s=10)
        last = await host.control.gone("life")
        assert last.containers[0].exit_code == 0
        assert not Path(f"/proc/{seen.pid}").exists()
        host.control.vanish("life")
        await asyncio.sleep(0.3)
        agent = containerd.folder / "agent"
        below = f"{containerd.daemon.layout.cgroup.lstrip('/')}/{INSTANCE}/life"
        left = [*agent.glob("*/life*"), *Path("/sys/fs/cgroup").glob(f"*/{below}")]
        assert left == []
        assert (await host.agent.runtime.list()).sandboxes == ()

    play(story)


def test_a_restart_of_the_agent_restarts_no_container(play: Any) -> None:
    async def story(host: Host) -> None:
        wanted = sandbox("keep", shell(restart="Always"))
        host.control.want(wanted)
        before = await host.control.running("keep")
        await host.stop()
        host.control.status.clear()
        await host.start()
        after = await host.control.running("keep")
        assert (after.pid, after.id, after.attempt) == (before.pid, before.id, before.attempt)
        assert "Killing" not in host.control.reasons("keep")

    play(story)


def test_an_agent_works_on_while_the_control_plane_is_away(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("alone", shell(restart="Always")))
        before = await host.control.running("alone")
        await host.stop()
        host.control.away = True
        await host.start()
        os.kill(before.pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        worker = host.agent.agent.workers["alone"]
        assert worker.run.containers["main"].attempt == 1
        assert worker.run.containers["main"].state == "running"
        host.control.away = False
        await host.control.until("alone", lambda status: status.containers[0].attempt == 1)

    play(story)


def test_a_sandbox_that_was_withdrawn_meanwhile_is_removed_after_the_sync(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("drop", shell()))
        seen = await host.control.running("drop")
        await host.stop()
        del host.control.wanted["drop"]
        await host.start()
        await host.control.gone("drop")
        assert not Path(f"/proc/{seen.pid}").exists()

    play(story)


def test_a_killed_container_comes_back_and_its_last_end_is_told(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("killed", shell(restart="Always")))
        before = await host.control.running("killed")
        os.kill(before.pid, signal.SIGKILL)
        status = await host.control.until(
            "killed",
            lambda status: status.containers[0].attempt == 1 and status.containers[0].ready,
        )
        after = status.containers[0]
        assert after.last is not None
        assert (after.last.exit_code, after.last.signal, after.last.reason) == (137, 9, "Error")
        assert after.restarts == 1

    play(story)


def test_a_killed_shim_brings_the_whole_sandbox_back(
    play: Any, containerd: ContainerdWorld
) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("shim", shell(restart="Always")))
        before = await host.control.running("shim")
        (shim,) = containerd.daemon.shims()
        os.kill(shim, signal.SIGKILL)
        status = await host.control.until(
            "shim",
            lambda status: status.containers[0].id != before.id and status.containers[0].ready,
            seconds=60,
        )
        assert status.containers[0].pid != before.pid
        assert not alive(before.pid)

    play(story)


def test_a_killed_containerd_harms_no_container(play: Any, containerd: ContainerdWorld) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("daemon", shell(restart="Always")))
        before = await host.control.running("daemon")
        containerd.daemon.kill()
        await asyncio.to_thread(containerd.daemon.start)
        await asyncio.sleep(1)
        assert Path(f"/proc/{before.pid}").exists()
        host.control.want(sandbox("after", shell()))
        await host.control.running("after")
        assert host.control.status["daemon"].containers[0].pid == before.pid
        os.kill(before.pid, signal.SIGKILL)  # and its exits are heard again
        await host.control.until("daemon", lambda status: status.containers[0].attempt == 1)

    play(story)


def test_an_exit_while_the_agent_was_away_is_seen_on_its_return(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("missed", shell(), skin="ecs"))
        before = await host.control.running("missed")
        await host.stop()
        os.kill(before.pid, signal.SIGKILL)
        await host.start()
        status = await host.control.gone("missed")
        assert status.containers[0].exit_code == 137

    play(story)


def test_lines_are_shipped_once_and_read_through_the_api(play: Any) -> None:
    async def story(host: Host) -> None:
        sink = LogSink("group", "stream", "us-east-1", "000000000000")
        script = "for i in 1 2 3; do echo line $i; done; echo bad >&2; " + FOREVER
        wanted = sandbox("lines", shell(script=script, log=sink))
        host.control.want(wanted)
        await host.control.running("lines")
        expected = ["line 1", "line 2", "line 3", "bad", "begun"]
        for _ in range(100):
            if len(host.control.lines("stream")) == len(expected):
                break
            await asyncio.sleep(0.05)
        assert sorted(host.control.lines("stream")) == sorted(expected)
        await host.stop()
        await host.start()
        await asyncio.sleep(0.5)
        assert len(host.control.lines("stream")) == len(expected)
        status, body = await host.get("/logs/lines/main", ("stream", "stdout"))
        assert (status, body) == (200, b"line 1\nline 2\nline 3\nbegun\n")
        status, body = await host.get("/logs/lines/main", ("tail", "2"))
        assert (status, len(body.splitlines())) == (200, 2)
        status, body = await host.get("/logs/lines/none")
        assert status == 404

    play(story)


def test_the_last_line_of_a_task_that_ends_is_shipped(play: Any) -> None:
    async def story(host: Host) -> None:
        sink = LogSink("group", "brief", "us-east-1", "000000000000")
        host.control.want(sandbox("brief", shell(script="echo last words", log=sink), skin="ecs"))
        await host.control.gone("brief")
        for _ in range(100):
            if host.control.lines("brief"):
                break
            await asyncio.sleep(0.05)
        assert host.control.lines("brief") == ["last words"]

    play(story)


def test_following_a_log_ends_with_the_container(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "echo one; sleep 0.5; echo two"
        host.control.want(sandbox("follow", shell(script=script)))
        await host.control.until("follow", lambda status: status.phase != "pending")
        status, body = await host.get("/logs/follow/main", ("follow", "true"))
        assert (status, body) == (200, b"one\ntwo\n")

    play(story)


def test_an_http_probe_reaches_the_sandbox_in_its_own_namespace(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "mkdir /www; echo ok >/www/ready; sleep 0.3; exec httpd -f -p 8080 -h /www"
        probe = Probe(http=HttpProbe(8080, "/ready"), period_s=0.2)
        host.control.want(sandbox("probed", shell(script=script, readiness=probe)))
        await host.control.running("probed")
        messages = [event.message for event in host.control.events if event.reason == "Unhealthy"]
        assert any("connection refused" in text for text in messages)

    play(story)


def test_a_failing_liveness_probe_restarts_the_container(play: Any) -> None:
    async def story(host: Host) -> None:
        probe = Probe(command=("test", "-e", "/alive"), period_s=0.1, failures=2)
        script = "touch /alive; " + FOREVER
        host.control.want(sandbox("alive", shell(script=script, liveness=probe, restart="Always")))
        before = await host.control.running("alive")
        result = await host.agent.runtime.exec_sync(before.id, ("rm", "/alive"), 5)
        assert result.exit_code == 0
        await host.control.until("alive", lambda status: status.containers[0].attempt == 1)
        messages = [event.message for event in host.control.events]
        assert "Container main failed liveness probe, will be restarted" in messages

    play(story)


def test_files_change_under_a_running_container(play: Any) -> None:
    async def story(host: Host) -> None:
        def wanted(content: bytes) -> Sandbox:
            return sandbox(
                "files",
                shell(mounts=(Mount("config", "/config"),)),
                volumes=(Volume("config", "files", files=(File("key", content, 0o600),)),),
            )

        host.control.want(wanted(b"old"))
        seen = await host.control.running("files")
        host.control.want(wanted(b"new"))
        for _ in range(100):
            read = await host.agent.runtime.exec_sync(seen.id, ("cat", "/config/key"), 5)
            assert read.stdout in (b"old", b"new")
            if read.stdout == b"new":
                break
            await asyncio.sleep(0.05)
        assert read.stdout == b"new"
        assert host.control.status["files"].containers[0].pid == seen.pid

    play(story)


def test_a_container_knows_its_hosts_name_and_address(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("names", shell()))
        seen = await host.control.running("names")
        read = await host.agent.runtime.exec_sync(seen.id, ("cat", "/etc/hosts"), 5)
        assert b"10.77.0.6\thost-names" in read.stdout
        read = await host.agent.runtime.exec_sync(seen.id, ("hostname",), 5)
        assert read.stdout == b"host-names\n"

    play(story)


def test_running_out_of_memory_is_told(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "a=x; while true; do a=$a$a; done"
        host.control.want(sandbox("oom", shell(script=script, memory_limit=16 << 20)))
        status = await host.control.until("oom", lambda status: status.phase == "failed")
        assert status.containers[0].reason == "OOMKilled"
        assert status.containers[0].exit_code == 137

    play(story)
