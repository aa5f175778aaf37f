"""The two worlds in which the Runtime port's suite runs, and the containers it asks for.

A container's name says how it behaves; each world makes that true in its own way.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import Clock, SystemClock, VirtualClock, run_virtual
from proa.model.sandbox import Container, Network, Sandbox
from proa.node.containerd.client import ContainerdRuntime
from proa.node.ports import ContainerSpec, Runtime, RuntimeSandbox, SandboxSpec
from proa.node.sim import Behaviour, SimRuntime
from proa.node.simhost import SimNetwork
from tests.conformance.runtime.daemon import BUSYBOX, Daemon

_COMMANDS = {
    "polite": "trap 'exit 7' TERM; while true; do sleep 0.05; done",
    "stubborn": "trap '' TERM; while true; do sleep 0.05; done",
    "brief": "exit 3",
    "fine": "exit 0",
}
_BEHAVIOURS = {
    "polite": Behaviour(stops_s=0.1, stop_exit_code=7),
    "stubborn": Behaviour(stops_s=None),
    "brief": Behaviour(runs_s=0.05, exit_code=3),
    "fine": Behaviour(runs_s=0.05),
    "broken": Behaviour(start_error='exec: "/nosuch": no such file or directory'),
}
COMMAND = ("sh", "-c", "printf hello; exit 4")  # what exec tests run


class World:
    """One runtime with its clock."""

    clock: Clock
    network: SimNetwork

    def play(self, story: Callable[[Runtime, World], Awaitable[None]]) -> None:
        """Run a test's coroutine against the runtime."""
        raise NotImplementedError

    def container(self, name: str, **fields: Any) -> Container:
        """A container that behaves as ``name`` says."""
        entrypoint = ("/nosuch",) if name == "broken" else ("sh", "-c", _COMMANDS[name])
        return Container(name, BUSYBOX, entrypoint=entrypoint, **fields)

    def sandbox(self, uid: str, **fields: Any) -> SandboxSpec:
        """A Sandbox of one attempt."""
        fields.setdefault("network", Network(address="10.9.8.7", hostname=f"host-{uid}"))
        sandbox = Sandbox(
            uid, f"name-{uid}", "default", f"/k/{uid}", "i-suite", containers=(), **fields
        )
        return SandboxSpec(sandbox, 0, str(self.log_root() / uid))

    def log_root(self) -> Path:
        return Path("/nonexistent")

    async def start(
        self, runtime: Runtime, spec: SandboxSpec, sandbox: RuntimeSandbox, name: str
    ) -> str:
        """Create and start a container; returns its id."""
        id = await self.create(runtime, spec, sandbox, name)
        await runtime.start_container(id)
        return id

    async def create(
        self,
        runtime: Runtime,
        spec: SandboxSpec,
        sandbox: RuntimeSandbox,
        name: str,
        attempt: int = 0,
    ) -> str:
        image = await runtime.image(BUSYBOX)
        assert image is not None
        return await runtime.create_container(
            sandbox,
            ContainerSpec(spec, self.container(name), attempt, image, (), f"{name}/{attempt}.log"),
        )


class SimWorld(World):
    """Virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = SimNetwork()

    def play(self, story: Callable[[Runtime, World], Awaitable[None]]) -> None:
        async def main() -> None:
            def behaviour(container: Container) -> Behaviour:
                known = _BEHAVIOURS.get(container.name, Behaviour())
                return Behaviour(
                    **{
                        **{name: getattr(known, name) for name in Behaviour.__slots__},
                        "command_exit_code": 4,
                        "command_output": b"hello",
                        "pull_error": "" if "busybox" in container.image else "not found",
                    }
                )

            runtime = SimRuntime(self.clock, Chance("suite"), self.network, behaviour)
            runtime.have(BUSYBOX)
            try:
                await story(runtime, self)
            finally:
                await runtime.close()

        run_virtual(main())


class ContainerdWorld(World):
    """A containerd of our own, started once for all tests of a module."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.network = SimNetwork()
        self.folder = Path(tempfile.mkdtemp(prefix="proa-"))
        self.daemon = Daemon(self.folder)
        try:
            self.daemon.start()
            self.daemon.load_images()
        except BaseException:
            self.close()
            raise

    def log_root(self) -> Path:
        return self.folder / "logs"

    def play(self, story: Callable[[Runtime, World], Awaitable[None]]) -> None:
        async def main() -> None:
            runtime = ContainerdRuntime(
                self.daemon.layout, self.network, self.clock, Chance("suite")
            )
            await runtime.start()
            try:
                async with asyncio.timeout(60):
                    await story(runtime, self)
            finally:
                for sandbox in (await runtime.list()).sandboxes:
                    await runtime.stop_sandbox(sandbox.id)
                    await runtime.remove_sandbox(sandbox.id)
                await runtime.close()

        asyncio.run(main())

    def close(self) -> None:
        """Leave nothing."""
        self.daemon.stop()
        shutil.rmtree(self.folder)
