"""A simulated Host: every port of an agent, put together over ``SimRuntime``.

``sim`` builds worlds of these; a second ``Agent`` over the same ports is a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.model.feed import Instances, Rules, Zones
from proa.model.sandbox import Container, Network, Probe, Sandbox, Volume
from proa.node.agent import Ports
from proa.node.checkpoint import MemoryCheckpoint
from proa.node.ports import Bind, ControlLink, MountError, Target
from proa.node.sim import Behaviour, SimRuntime


def _owner(key: str) -> str:
    """The Sandbox that an attachment is of."""
    return key.partition("#")[0]


class SimNetwork:
    """The NetworkPort: remembers what it was told."""

    def __init__(self) -> None:
        self.attached: dict[str, str] = {}
        self.instances: Instances | None = None
        self.rules = Rules()
        self.zones = Zones()

    async def ensure(self, instances: Instances) -> None:
        self.instances = instances

    async def attach(self, netns_path: str, network: Network, uid: str) -> str:
        self.attached[uid] = network.address
        return network.address

    async def isolate(self, uid: str, container: str, network: Network) -> str:
        self.attached[f"{uid}#{container}"] = network.address
        return self.container_namespace(uid, container)

    def container_namespace(self, uid: str, container: str) -> str:
        return f"sim:{uid}#{container}"

    async def detach(self, uid: str) -> None:
        self.attached = {key: item for key, item in self.attached.items() if _owner(key) != uid}

    async def keep(self, uids: Collection[str]) -> None:
        self.attached = {key: item for key, item in self.attached.items() if _owner(key) in uids}

    def instance_namespace(self, instance: str) -> str:
        return ""

    async def apply_rules(self, rules: Rules) -> None:
        self.rules = rules

    async def apply_zones(self, zones: Zones) -> None:
        self.zones = zones

    async def close(self) -> None:
        """Nothing is held."""


class SimVolumes:
    """The Volumes port: remembers what it was told to make."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Volume, ...]] = {}
        self.fault = ""  # why no volume can be made

    async def prepare(self, sandbox: Sandbox) -> None:
        if self.fault:
            raise MountError(self.fault)
        self.made[sandbox.uid] = sandbox.volumes

    async def update(self, sandbox: Sandbox) -> None:
        self.made[sandbox.uid] = sandbox.volumes

    def binds(
        self, sandbox: Sandbox, container: Container, attempt: int, address: str
    ) -> tuple[Bind, ...]:
        return ()

    def termination_message(self, uid: str, container: str, attempt: int) -> str:
        return ""

    async def remove(self, uid: str) -> None:
        self.made.pop(uid, None)


class SimLogs:
    """The Logs port: simulated containers write nothing."""

    def follow(self, sandbox: Sandbox) -> None:
        """There are no lines."""

    async def finish(self, uid: str) -> None:
        """There are no lines."""

    async def remove(self, uid: str) -> None:
        """There are no files."""

    async def close(self) -> None:
        """Nothing is held."""


class SimProber:
    """The Prober port: a container answers once its ``ready_s`` is over."""

    def __init__(self, runtime: SimRuntime, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    async def check(self, probe: Probe, target: Target) -> str:
        if probe.sleep_s is not None:
            await self._clock.sleep(probe.sleep_s)
            return ""
        if probe.command:
            done = await self._runtime.exec_sync(target.container_id, probe.command, 1)
            if done.exit_code:
                return f"command exited with {done.exit_code}"
        if self._runtime.ready(target.container_id):
            return ""
        return "connect: connection refused"


def simulated_ports(
    link: ControlLink,
    clock: Clock,
    chance: Chance,
    behaviour: Callable[[Container], Behaviour] = lambda container: Behaviour(),
) -> tuple[Ports, SimRuntime, SimNetwork]:
    """The ports of one simulated Host; a second ``Agent`` over the same ports is a restart."""
    network = SimNetwork()
    runtime = SimRuntime(clock, chance, network, behaviour)
    ports = Ports(
        link=link,
        runtime=runtime,
        network=network,
        volumes=SimVolumes(),
        prober=SimProber(runtime, clock),
        checkpoint=MemoryCheckpoint(),
        logs=SimLogs(),
        clock=clock,
    )
    return ports, runtime, network
