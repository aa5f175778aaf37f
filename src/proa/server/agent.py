"""The agent's process: ``python -m proa.server.agent DATA_DIR`` (started by the supervisor).

Puts the node agent over this machine's network and DNS, and serves its API on the agent's
socket. SIGTERM ends it; containers live on.
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
from proa.node.containerd.config import layout_of
from proa.node.facts import host_facts
from proa.node.host import HostAgent
from proa.node.linux.network import LinuxNetwork
from proa.serve.dns import DnsServer
from proa.server.agent_link import HullLink
from proa.server.http import Shell
from proa.server.process import run_process

log = get_logger(__name__)


async def serve(config: Config, stopping: asyncio.Event) -> None:
    """Run the agent until ``stopping`` is set."""
    clock, chance = SystemClock(), Chance()
    facts = host_facts(config)
    link = HullLink(config.hull_socket, Hello(facts), clock)
    network = LinuxNetwork(config, clock, DnsServer(chance))
    agent = HostAgent(layout_of(config), link, network, clock, chance, facts.id)
    shell = Shell(agent.api.handle)
    await shell.start_unix(config.agent_socket)
    tasks = Tasks(on_crash=lambda _name, _error: stopping.set())
    tasks.spawn(agent.run(), "agent")
    tasks.spawn(link.heartbeat(), "heartbeat")
    log.info("agent starts", host=facts.id)
    try:
        await stopping.wait()
    finally:
        await shell.close()
        await tasks.close()
        await link.close()
        await network.close()


if __name__ == "__main__":
    run_process(Path(sys.argv[1]), serve)
