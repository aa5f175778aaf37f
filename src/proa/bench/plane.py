"""A control plane to measure: assembled as ``server.control`` does it, over a SQLite file with
durable commits in a folder of its own, and asked through its handlers in the same process.

What is left out is what a network adds: sockets and TLS. Nodes join through the hull's API as
agents make them join, and stay alive by the same reports; no agent runs what is placed on them.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.base.config import Config
from proa.base.http import Peer, Request, Response
from proa.cloud.logs import MemoryEventLog
from proa.cloud.secrets import Sealer
from proa.kube.schema.cache import SchemaCache
from proa.kube.sealed import SealingStore
from proa.model.feed import Hello, Report
from proa.model.host import Host
from proa.server.assemble import ControlPlane, Outside
from proa.server.control import open_store, public_keys
from proa.server.kube_cluster import KubeSecrets
from proa.server.process import freeze
from proa.sim.world import NoNodeLink

Json = dict[str, Any]
HEARTBEAT_S = 10.0
FREEZE_S = 5.0  # as every process of Proa does after its start
JOIN_SLICE = 250  # Hosts that join in one call
_encode = msgspec.json.Encoder().encode


class Refused(RuntimeError):
    """An API refused what a benchmark asked for."""


class Plane:
    """Made by ``open``; ``close`` ends it. ``folder`` is the benchmark's own."""

    def __init__(
        self, plane: ControlPlane, config: Config, certificate: bytes, clock: SystemClock
    ) -> None:
        self.inner = plane
        self.config = config
        self.clock = clock
        self._peer = Peer("127.0.0.1", certificate)
        self._hosts: list[str] = []
        self.cluster = f"eks/{plane.kube.first.info.name}"
        self.keys = ("", "")
        self._tasks = Tasks()

    @classmethod
    async def open(cls, folder: Path, schemas: Path | None = None) -> Plane:
        """Start it; both APIs answer when this returns."""
        clock, chance, config = SystemClock(), Chance(), Config(data_dir=folder)
        sealer = Sealer.from_file(folder / "sealing.key", chance)
        store = SealingStore(await open_store(config, clock), sealer)
        keys = public_keys(config, clock)
        outside = Outside(
            sealer=sealer,
            events=MemoryEventLog(),
            kube_secrets=KubeSecrets(keys.ca_pem.decode(), keys.token_key_pem),
            schemas=SchemaCache.open(schemas or folder / "schemas.cache"),
            node_link=NoNodeLink(),
        )
        plane = ControlPlane(config, store, clock, chance, outside)
        admin = x509.load_pem_x509_certificate(keys.admin_pem)
        made = cls(plane, config, admin.public_bytes(Encoding.DER), clock)
        made.keys = await plane.start()
        asyncio.get_running_loop().call_later(FREEZE_S, freeze)
        made._tasks.spawn(made._beat(), "heartbeats of the nodes")
        return made

    async def close(self) -> None:
        """End the control plane."""
        await self._tasks.close()
        await self.inner.close()
        await self.inner.store.close()

    # The APIs

    async def kube(self, method: str, path: str, body: Json | bytes = b"") -> Json:
        """A request to the Kubernetes API as a cluster administrator. Raises Refused."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {"content-type": "application/json"}
        plain, _, query = path.partition("?")
        pairs = tuple((k, v) for k, _, v in (p.partition("=") for p in query.split("&") if p))
        request = Request(method, plain, pairs, headers, data, raw_query=query, peer=self._peer)
        answer = await self.inner.kube.handle(request)
        return _read(answer)

    async def watch(self, path: str, version: str) -> AsyncIterator[bytes]:
        """Lines of a watch that begins after ``version``."""
        query = (("watch", "1"), ("resourceVersion", version))
        raw = f"watch=1&resourceVersion={version}"
        request = Request("GET", path, query, {}, raw_query=raw, peer=self._peer)
        answer = await self.inner.kube.handle(request)
        if answer.stream is None:
            raise Refused(f"{answer.status} {answer.body[:300]!r}")
        async for chunk in answer.stream:
            yield chunk

    async def hull(self, path: str, body: bytes) -> None:
        """A call of the agents' API. Raises Refused."""
        _read(await self.inner.hull.handle(Request("POST", path, body=body)))

    # Nodes

    async def join(self, hosts: Sequence[Host]) -> None:
        """Hosts come, through the API that agents use, and are kept alive."""
        for start in range(0, len(hosts), JOIN_SLICE):
            some = tuple(Hello(host) for host in hosts[start : start + JOIN_SLICE])
            await self.hull("/v1/hellos", _encode(some))
            self._hosts += [hello.host.id for hello in some]

    async def leave(self, hosts: Sequence[Host]) -> None:
        """These Hosts are switched off for good."""
        gone = [host.id for host in hosts]
        self._hosts = [id for id in self._hosts if id not in gone]
        await self.hull("/v1/leaves", _encode(gone))

    async def _beat(self) -> None:
        while True:
            await self.clock.sleep(HEARTBEAT_S)
            for start in range(0, len(self._hosts), JOIN_SLICE):
                some = self._hosts[start : start + JOIN_SLICE]
                await self.hull("/v1/reports", _encode(tuple(Report(host) for host in some)))


def _read(answer: Response) -> Json:
    if answer.status >= 400:
        raise Refused(f"{answer.status} {answer.body[:500]!r}")
    found: Json = orjson.loads(answer.body) if answer.body else {}
    return found


def peak_rss_mib() -> float:
    """The most that this process has had resident, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rss_mib() -> float:
    """What this process has resident now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
