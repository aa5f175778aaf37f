"""The agent's process: ``python -m proa.server.agent DATA_DIR`` (started by the supervisor).

Puts the node agent together from its real ports and serves its API on the agent's socket.
SIGTERM ends it; containers live on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config
from proa.base.telemetry import get_logger
from proa.model.feed import Hello
from proa.node.agent import Agent, Ports
from proa.node.api import AgentApi
from proa.node.checkpoint import FileCheckpoint
from proa.node.containerd.client import ContainerdRuntime
from proa.node.containerd.config import Layout
from proa.node.facts import host_facts
from proa.node.linux import LinuxNetwork
from proa.node.probes import HostProber
from proa.node.volumes import DiskVolumes
from proa.serve.dns import DnsServer
from proa.server.agent_link import HullLink
from proa.server.http import Shell
from proa.server.process import run_process

log = get_logger(__name__)


async def serve(config: Config, stopping: asyncio.Event) -> None:
    """Run the agent until ``stopping`` is set."""
    clock, chance = SystemClock(), Chance()
    host = host_facts(config)
    network = LinuxNetwork(config, clock, DnsServer(clock))
    layout = Layout(
        config.data_dir, config.containerd_socket, f"http://127.0.0.1:{config.registry_port}"
    )
    runtime = ContainerdRuntime(layout, network, clock, chance)
    await runtime.start()
    link = HullLink(config.hull_socket, Hello(host), clock)
    folder = config.data_dir / "agent"
    ports = Ports(
        link=link,
        runtime=runtime,
        network=network,
        volumes=DiskVolumes(folder / "volumes"),
        prober=HostProber(runtime, clock),
        checkpoint=FileCheckpoint(folder / "checkpoint"),
        clock=clock,
    )
    agent = Agent(ports, host.id, config.data_dir / "pods")
    shell = Shell(AgentApi(agent).handle)
    await shell.start_unix(config.agent_socket)
    tasks = Tasks(on_crash=lambda _name, _error: stopping.set())
    tasks.spawn(agent.run(), "agent")
    tasks.spawn(link.heartbeat(), "heartbeat")
    log.info("agent ready", host=host.id)
    try:
        await stopping.wait()
    finally:
        await shell.close()
        await tasks.close()
        await link.close()
        await runtime.close()
        await network.close()


if __name__ == "__main__":
    run_process(Path(sys.argv[1]), serve)
