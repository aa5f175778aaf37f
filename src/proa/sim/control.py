"""A whole Proa in one process, over simulated Hosts: what ``proa up --runtime sim`` runs.

``python -m proa.sim.control DATA_DIR``, started by the supervisor, or several of them in the
process of the pytest plugin (``sim.nursery``). The control plane is the real one with its real
sockets; the Hosts are a ``Crowd`` beside it. It needs neither root nor Linux, and no network but
loopback.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec

from proa.aws.eks.records import DEFAULT
from proa.aws.longtail.process import MotoProcess
from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config
from proa.base.http import Handler
from proa.base.telemetry import get_logger
from proa.cloud.secrets import Sealer
from proa.kube import pki
from proa.kube.schema.cache import SchemaCache
from proa.kube.sealed import SealingStore
from proa.server.assemble import ControlPlane, Outside
from proa.server.control import AWS_BODY, open_store, public_keys, write_private
from proa.server.core import local_name
from proa.server.doors import Door
from proa.server.event_files import EventFiles
from proa.server.http import Shell
from proa.server.http_doors import HttpDoors
from proa.server.http_fetch import fetch
from proa.server.kube_cluster import KubeSecrets
from proa.server.node_link import LocalNodeLink
from proa.server.process import FAILED_CODE, run_process, stop_when_failed
from proa.sim.crowd import Crowd
from proa.sim.crowd_api import CrowdApi
from proa.sim.crowd_logs import LogShipping
from proa.sim.crowd_process import CrowdPlan, hosts_of, manners_of
from proa.sim.near import NearLink
from proa.store.api import Store
from proa.store.append import AppendFiles
from proa.store.memory import MemoryStore

log = get_logger(__name__)
HOST_TYPE = "m5.2xlarge"  # of the Hosts that come with it
JOINED_LOOK_S = 0.01


class LocalDoors(HttpDoors):
    """Clusters' APIs at the configured address alone: no pod comes from anywhere else."""

    async def reach(self, cluster: str, addresses: Collection[str]) -> None:
        """There are no pods that send packets."""


def own_plan(config: Config) -> CrowdPlan:
    """The Hosts of a Proa that has no real ones."""
    return CrowdPlan("host", config.hosts, type=HOST_TYPE, behaviour=config.behaviour)


class Solo:
    """One Proa. ``start`` returns once both APIs answer and every Host is there. With ``durable``
    the store is a file below the data directory; without, everything is gone with it."""

    def __init__(
        self, config: Config, *, durable: bool = True, schemas: SchemaCache | None = None
    ) -> None:
        """``schemas`` are those of an earlier one in this process."""
        self.config, self._durable, self._schemas = config, durable, schemas
        self._clock, self._chance = SystemClock(), Chance()
        self._shells: list[Shell] = []
        self._doors = LocalDoors(config.listen)
        self._store: Store
        self.environment: dict[str, str] = {}

    async def start(self) -> None:
        """Bring everything up. Raises OSError where a port is taken, CallerFault for a behaviour
        file that cannot be read."""
        config = self.config
        plan = own_plan(config)
        manners = manners_of(plan.behaviour)
        hosts = [
            msgspec.structs.replace(host, simulated=False)  # to its clients they are the machine
            for host in hosts_of(plan, config.region, "")
        ]
        sealer = Sealer.from_file(config.data_dir / "sealing.key", self._chance)
        self._store = await self._opened(sealer)
        keys = public_keys(config, self._clock)
        self._files = AppendFiles(config.data_dir / "events")
        self._long_tail = MotoProcess(config.data_dir, self._clock)
        node_link = LocalNodeLink(config.agent_socket)
        outside = Outside(
            sealer=sealer,
            events=EventFiles(self._files),
            kube_secrets=KubeSecrets(keys.ca_pem.decode(), keys.token_key_pem),
            schemas=self._schemas or SchemaCache.open(config.data_dir / "schemas.cache"),
            node_link=node_link,
            long_tail=self._long_tail,
            fetch=fetch,
            doors=self._doors,
        )
        self.plane = plane = ControlPlane(config, self._store, self._clock, self._chance, outside)
        node_link.where = plane.kube.agent_of
        access_key, secret_key = await plane.start()
        self._say_where(keys, access_key, secret_key)
        link = NearLink(lambda: plane.hull)
        logs = LogShipping(link)
        self.crowd = Crowd(link, self._clock, self._chance.child("crowd"), manners, logs.observe)
        logs.follow(self.crowd)
        self._logs = logs
        await self._listen(keys)
        self.crowd.add(hosts)
        while not self.crowd.synced:
            await self._clock.sleep(JOINED_LOOK_S)

    async def _opened(self, sealer: Sealer) -> Store:
        if not self._durable:
            return MemoryStore(self._clock)
        return SealingStore(await open_store(self.config, self._clock), sealer)

    def _say_where(self, keys: pki.Files, access_key: str, secret_key: str) -> None:
        """Write what clients need, and keep it for those who ask this process."""
        config = self.config
        name = local_name(config.listen)
        url = f"https://{name}:{config.kube_port}"
        kubeconfig = pki.kubeconfig(url, keys.ca_pem, keys.admin_pem, keys.admin_key_pem)
        credentials = json.dumps({"access_key": access_key, "secret_key": secret_key})
        write_private(config.data_dir / "credentials.json", credentials)
        write_private(config.data_dir / "kubeconfig", kubeconfig)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{name}:{config.aws_port}",
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_DEFAULT_REGION": config.region,
            "KUBECONFIG": str(config.data_dir / "kubeconfig"),
        }

    async def _listen(self, keys: pki.Files) -> None:
        config, plane = self.config, self.plane
        aws = self._shell(plane.aws.handle, max_body=AWS_BODY, oversized=plane.aws.oversized)
        await aws.start(config.listen, config.aws_port)
        certificate, key = keys.server_certificate.read_bytes(), keys.server_key.read_bytes()
        door = Door(DEFAULT, config.kube_port, plane.kube.handle, certificate, key, keys.ca_pem)
        await self._doors.open(door)
        await plane.eks.open_doors()
        hull = self._shell(plane.hull.handle, max_body=64 * 1024 * 1024)
        await hull.start_unix(config.hull_socket)
        agent = self._shell(CrowdApi(self.crowd).handle)
        await agent.start_unix(config.agent_socket)

    def _shell(self, handler: Handler, **fields: object) -> Shell:
        made = Shell(handler, **fields)  # type: ignore[arg-type]
        self._shells.append(made)
        return made

    async def close(self) -> None:
        """End everything."""
        for shell in self._shells:
            await shell.close()
        await self._doors.close_all()
        await self.crowd.close()
        await self._logs.close()
        await self.plane.close()
        await self._long_tail.close()
        await self._store.close()
        self._files.close()


async def serve(config: Config, stopping: asyncio.Event) -> None:
    """Run until ``stopping`` is set."""
    solo = Solo(config)
    await solo.start()
    tasks = Tasks()
    tasks.spawn(stop_when_failed(solo.plane.failed, stopping), "health")
    log.info("control plane ready")
    try:
        await stopping.wait()
    finally:
        await solo.close()
        await tasks.close()
    if solo.plane.failed.is_set():
        sys.exit(FAILED_CODE)


if __name__ == "__main__":
    run_process(Path(sys.argv[1]), serve)
