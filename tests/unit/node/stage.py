"""A simulated Host on which a test plays: an agent over simulated ports, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.model.sandbox import Container, Network, Sandbox
from proa.node.agent import Agent
from proa.node.sim import Behaviour
from proa.node.simhost import SimVolumes, simulated_ports
from tests.conformance.runtime.control import Control

Story = Callable[["Play"], Awaitable[None]]


class Play:
    """One simulated Host with its agent and control plane."""

    def __init__(self, behaviours: dict[str, Behaviour]) -> None:
        self.clock = VirtualClock()
        self.control = Control(self.clock)
        self.behaviours = behaviours
        self.ports, self.runtime, self.network = simulated_ports(
            self.control, self.clock, Chance("play"), self._behave
        )
        self.volumes = self.ports.volumes
        assert isinstance(self.volumes, SimVolumes)
        self.agent: Agent
        self._task: asyncio.Task[None] | None = None

    def _behave(self, container: Container) -> Behaviour:
        return self.behaviours.get(container.name or container.image, Behaviour())

    async def start(self) -> None:
        self.agent = Agent(self.ports, "h-1", Path("/nonexistent"))
        self._task = asyncio.create_task(self.agent.run(), name="agent")

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    def starts(self, uid: str) -> list[str]:
        """Names of containers in the order they were started."""
        return [
            event.container
            for event in self.control.events
            if event.uid == uid and event.reason == "Started"
        ]


def play(story: Story, **behaviours: Behaviour) -> None:
    async def main() -> None:
        stage = Play(behaviours)
        await stage.start()
        try:
            await story(stage)
        finally:
            await stage.stop()
            await stage.runtime.close()

    run_virtual(main())


def sandbox(uid: str, *containers: Container, **fields: Any) -> Sandbox:
    fields.setdefault("network", Network(address="10.0.0.9"))
    return Sandbox(
        uid, f"name-{uid}", "default", f"/k/{uid}", "i-1", containers=containers, **fields
    )
