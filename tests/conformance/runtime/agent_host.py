"""One machine in a test: the whole agent over a real containerd and a control plane of its own."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.http import Request
from proa.model.sandbox import Container, Network, Sandbox
from proa.node.host import HostAgent
from proa.node.linux.channel import drop_namespace, make_namespace, raise_loopback
from proa.node.simhost import SimNetwork
from tests.conformance.runtime.control import Control
from tests.conformance.runtime.daemon import BUSYBOX, INSTANCE, Daemon

FOREVER = "trap 'exit 0' TERM; echo begun; while true; do sleep 0.05; done"


class LonelyNetwork(SimNetwork):
    """Gives the Sandbox its address on a link that leads nowhere: enough to be probed there. A
    container's own namespace has a loopback only."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def container_namespace(self, uid: str, container: str) -> str:
        return str(self._folder / f"{uid}#{container}")

    async def isolate(self, uid: str, container: str, network: Network) -> str:
        path = Path(await super().isolate(uid, container, network))
        await asyncio.to_thread(make_namespace, path)
        await asyncio.to_thread(raise_loopback, path)
        return str(path)

    async def detach(self, uid: str) -> None:
        await super().detach(uid)
        for path in self._folder.glob(f"{uid}#*"):
            drop_namespace(path)

    async def attach(self, netns_path: str, network: Network, uid: str) -> str:
        script = (
            "ip link add eth0 type veth peer name nowhere && "
            f"ip addr add {network.address}/32 dev eth0 && ip link set eth0 up"
        )
        command = ["nsenter", f"--net={netns_path}", "sh", "-c", script]
        subprocess.run(command, check=True, timeout=10)
        return await super().attach(netns_path, network, uid)


class Host:
    """One machine in a test: its containerd, its control plane, its agent."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.control = Control(SystemClock())
        self.network = LonelyNetwork(daemon.layout.data_dir / "netns")
        self.agent: HostAgent
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.agent = HostAgent(
            self.daemon.layout, self.control, self.network, SystemClock(), Chance(), "h-1"
        )
        self._task = asyncio.create_task(self.agent.run(), name="agent")

    async def stop(self) -> None:
        """As a kill would: nothing is tidied up."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def get(self, path: str, *query: tuple[str, str]) -> tuple[int, bytes]:
        """Ask the agent's API; a stream is read to its end."""
        response = await self.agent.api.handle(Request("GET", path, query))
        body = response.body
        if response.stream is not None:
            body = b"".join([chunk async for chunk in response.stream])
        return response.status, body


class Talk:
    """A user's end of a stream: what is sent is queued (a number is a pause), what comes is
    kept."""

    def __init__(self, *messages: bytes | float) -> None:
        self._messages = list(messages)
        self.received: list[bytes] = []
        self.closed = asyncio.Event()

    async def receive(self) -> bytes | None:
        while self._messages:
            message = self._messages.pop(0)
            if isinstance(message, bytes):
                return message
            await asyncio.sleep(message)
        await self.closed.wait()
        return None

    async def send(self, data: bytes) -> None:
        self.received.append(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed.set()

    def text(self, channel: int) -> bytes:
        """What came on a channel so far."""
        return b"".join(item[1:] for item in self.received if item[0] == channel)

    async def heard(self, channel: int, text: bytes) -> None:
        """Wait for a channel's whole text."""
        for _ in range(500):
            if self.text(channel) == text:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{self.received} instead of {text!r}")


def sandbox(uid: str, *containers: Container, **fields: Any) -> Sandbox:
    network = Network(address=f"10.77.0.{len(uid) + 1}", hostname=f"host-{uid}")
    fields.setdefault("network", network)
    return Sandbox(
        uid, f"name-{uid}", "default", f"/k/{uid}", INSTANCE, containers=containers, **fields
    )


def shell(name: str = "main", script: str = FOREVER, **fields: Any) -> Container:
    return Container(name, BUSYBOX, entrypoint=("sh", "-c", script), **fields)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
