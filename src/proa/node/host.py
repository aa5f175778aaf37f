"""``HostAgent``: the agent put together over the real ports of one machine.

``cli.main`` makes one from a ``Config``, a link and a network, hosts ``api.handle`` on the
agent's socket, and awaits ``run``. Everything it keeps lies below ``data_dir/agent``.
"""

from __future__ import annotations

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.cloud.secrets import Sealer
from proa.node.agent import Agent, Ports
from proa.node.api import AgentApi
from proa.node.checkpoint import FileCheckpoint
from proa.node.containerd.client import ContainerdRuntime
from proa.node.containerd.config import Layout
from proa.node.netprobe import HostProber, SandboxSockets
from proa.node.ports import ControlLink, NetworkPort
from proa.node.rotation import LogRotation
from proa.node.shipping import LogShipper
from proa.node.volumes import DiskVolumes


class HostAgent:
    """Agent, API and log rotation of this machine."""

    def __init__(
        self,
        layout: Layout,
        link: ControlLink,
        network: NetworkPort,
        clock: Clock,
        chance: Chance,
        host: str,
    ) -> None:
        folder = layout.data_dir / "agent"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log_root = folder / "logs"
        self.runtime = ContainerdRuntime(layout, network, clock, chance)
        self._sockets = SandboxSockets()
        self._shipper = LogShipper(link, clock, log_root)
        ports = Ports(
            link=link,
            runtime=self.runtime,
            network=network,
            volumes=DiskVolumes(folder / "sandboxes", folder / "shared"),
            prober=HostProber(self.runtime, self._sockets, clock),
            checkpoint=FileCheckpoint(
                folder / "checkpoint", Sealer.from_file(folder / "checkpoint.key", chance)
            ),
            logs=self._shipper,
            clock=clock,
        )
        self.agent = Agent(ports, host, log_root)
        self.api = AgentApi(self.agent, self.runtime, log_root, self._sockets)
        self._rotation = LogRotation(self.runtime, clock, log_root, self._shipper.needed_from)
        self._tasks = Tasks()

    async def run(self) -> None:
        """Work until cancelled; containers stay as they are."""
        await self.runtime.start()
        self._tasks.spawn(self._rotation.run(self.agent.workers.values), "log rotation")
        try:
            await self.agent.run()
        finally:
            await self._tasks.close()
            self.api.close()
            self._sockets.close()
            await self.runtime.close()
