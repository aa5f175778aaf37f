"""Streams into real containers through the agent's API: exec, attach, port-forward."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proa.base.http import Request
from tests.conformance.runtime.agent_host import FOREVER, Host, Talk, sandbox, shell

pytestmark = pytest.mark.root


def test_exec_through_the_api_has_input_output_and_an_exit_code(play: Any) -> None:
    async def story(host: Host) -> None:
        host.control.want(sandbox("exec", shell()))
        await host.control.running("exec")
        command = ("sh", "-c", "read word; echo got $word; exit 5")
        query = (*(("command", part) for part in command), ("stdin", "true"))
        response = await host.agent.api.handle(Request("GET", "/exec/exec/main", query))
        assert response.upgrade is not None
        talk = Talk(b"\x00hello\n")
        await response.upgrade(talk)
        assert b"".join(item[1:] for item in talk.received if item[0] == 1) == b"got hello\n"
        status = json.loads(talk.received[-1][1:])
        assert talk.received[-1][0] == 3
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "5"}]

    play(story)


async def attached(host: Host, uid: str, talk: Talk) -> asyncio.Task[None]:
    """Attach to the container "main" and let the user talk."""
    response = await host.agent.api.handle(
        Request("GET", f"/attach/{uid}/main", (("stdin", "true"),))
    )
    assert response.upgrade is not None, response.body
    return asyncio.create_task(_run(response.upgrade, talk), name="attach")


async def _run(upgrade: Any, talk: Talk) -> None:
    await upgrade(talk)


def test_the_first_who_attaches_once_ends_the_input_of_the_container(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "cat; echo over >&2; sleep 0.2"
        host.control.want(sandbox("once", shell(script=script, stdin=True, stdin_once=True)))
        await host.control.running("once")
        talk = Talk(b"\x00first\n", b"\x00second\n", b"\xff\x00")
        async with asyncio.timeout(20):
            await (await attached(host, "once", talk))
        assert talk.text(1) == b"first\nsecond\n", talk.received
        assert talk.text(2) == b"over\n"
        assert json.loads(talk.received[-1][1:])["status"] == "Success"
        status = await host.control.until("once", lambda status: status.phase == "succeeded")
        assert status.containers[0].exit_code == 0

    play(story)


def test_several_attach_and_leave_while_the_container_goes_on(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "while read line; do echo got $line; done; sleep 1000"
        host.control.want(sandbox("many", shell(script=script, stdin=True)))
        before = await host.control.running("many")
        watcher = Talk()
        watching = await attached(host, "many", watcher)
        await asyncio.sleep(0.2)
        for word in (b"one", b"two"):
            speaker = Talk(b"\x00" + word + b"\n")
            speaking = await attached(host, "many", speaker)
            await speaker.heard(1, b"got " + word + b"\n")
            speaker.closed.set()
            await speaking
        await watcher.heard(1, b"got one\ngot two\n")
        watcher.closed.set()
        await watching
        assert (await host.control.running("many")).pid == before.pid

    play(story)


def test_a_terminal_is_attached_with_its_size(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "read line; stty size; echo end; sleep 0.2"
        host.control.want(sandbox("tty", shell(script=script, stdin=True, tty=True)))
        await host.control.running("tty")
        talk = Talk(b'\x04{"Width":77,"Height":11}', 0.5, b"\x00go\n")
        async with asyncio.timeout(20):
            await (await attached(host, "tty", talk))
        assert b"11 77\r\nend\r\n" in talk.text(1)

    play(story)


def test_what_cannot_be_streamed_to_is_refused_with_a_reason(play: Any) -> None:
    async def story(host: Host) -> None:
        waits = shell("waits", blocked="CreateContainerConfigError: no secret")
        host.control.want(sandbox("refuse", shell(script="exit 0"), waits))
        await host.control.until("refuse", lambda status: status.containers[0].state == "exited")

        async def refused(path: str, *query: tuple[str, str]) -> tuple[int, str]:
            response = await host.agent.api.handle(Request("GET", path, query))
            return response.status, response.body.decode()

        over = (409, 'container not found ("main")')
        early = 'container "waits" is waiting to start: CreateContainerConfigError'
        assert await refused("/attach/refuse/main") == over
        assert await refused("/exec/refuse/main", ("command", "ls")) == over
        assert await refused("/attach/refuse/waits") == (409, early)
        assert await refused("/attach/refuse/none") == (404, 'container not found ("none")')
        assert await refused("/attach/none/main") == (404, 'container not found ("main")')
        assert (await refused("/portforward/refuse/70000"))[0] == 400
        assert (await refused("/portforward/none/80"))[0] == 404
        status, text = await refused("/portforward/refuse/81")
        assert (status, "refused" in text) == (409, True)

    play(story)


def test_a_forwarded_connection_may_be_closed_one_way(play: Any) -> None:
    async def story(host: Host) -> None:
        script = "nc -l -p 8080 -e /bin/wc -c & " + FOREVER
        host.control.want(sandbox("forward", shell(script=script)))
        await host.control.running("forward")
        await asyncio.sleep(0.3)
        response = await host.agent.api.handle(Request("GET", "/portforward/forward/8080"))
        assert response.upgrade is not None, response.body
        talk = Talk(b"x" * 70000, b"y" * 5, b"")
        async with asyncio.timeout(20):
            await response.upgrade(talk)
        assert b"".join(talk.received).strip() == b"70005"

    play(story)
