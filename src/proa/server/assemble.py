"""Where everything is put together from ports: the one place that knows every part.

``ControlPlane`` is the whole control plane over a store, a clock, chance and a few outside ports.
``server.control`` gives it the real ones and puts HTTP shells around its handlers; ``sim`` gives
it simulated ones and calls the handlers directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proa.aws.longtail.port import Absent, LongTail
from proa.aws.sts.presigned import Presigned
from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.config import Config
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.cloud.identity import Identities
from proa.cloud.logs import EventLog
from proa.cloud.network import NETWORK_TABLES
from proa.cloud.secrets import Sealer
from proa.dispatch.scheduler import Scheduler
from proa.dispatch.skin import Skin
from proa.kube.api.node_link import NodeLink
from proa.kube.schema.cache import SchemaCache
from proa.kube.tables import TABLES as KUBE_TABLES
from proa.model.host import Instance
from proa.reconcile.plan import Plan
from proa.reconcile.runner import Runner
from proa.reconcile.view import Table, View
from proa.server import aws_bow
from proa.server.aws_bow import Aws
from proa.server.core import Core
from proa.server.doors import Doors, NoDoors
from proa.server.eks_lifecycle import EksController
from proa.server.eks_steps import Steps
from proa.server.eks_tokens import EksTokens
from proa.server.hosts import Hosts
from proa.server.hull import HullApi
from proa.server.issuers import Fetch, Issuers, nothing
from proa.server.kube_bow import Kube, KubeParts
from proa.server.kube_cluster import KubeSecrets
from proa.server.kube_keys import KeyRing
from proa.server.offers import ClusterOffer, Offers
from proa.server.overview import Overview
from proa.server.status import StatusReport
from proa.server.why import Why
from proa.store.api import Store
from proa.store.compactor import Compactor
from proa.store.dump import export

log = get_logger(__name__)
TABLES: tuple[Table[Any], ...] = (
    compute.HOSTS,
    compute.INSTANCES,
    *NETWORK_TABLES,
    *aws_bow.TABLES,
    *KUBE_TABLES,
)


@dataclass(slots=True, frozen=True)
class Outside:
    """What the control plane needs besides store, clock and chance."""

    sealer: Sealer
    events: EventLog
    kube_secrets: KubeSecrets
    schemas: SchemaCache
    node_link: NodeLink
    long_tail: LongTail = field(default_factory=Absent)
    doors: Doors = field(default_factory=NoDoors)
    fetch: Fetch = nothing


class ControlPlane:
    """Made once; ``start`` returns when both APIs may be asked."""

    def __init__(
        self, config: Config, store: Store, clock: Clock, chance: Chance, outside: Outside
    ) -> None:
        self.store = store
        self.view = View(store, TABLES)
        self._core = core = Core(config, store, self.view, clock, chance)
        self.aws = Aws(core, outside.sealer, outside.events, outside.long_tail)
        self._fetch = outside.fetch
        tokens = EksTokens(core, Presigned(self.view, Identities(self.view, outside.sealer)))
        parts = KubeParts(outside.kube_secrets, outside.schemas, outside.node_link, tokens)
        self.kube = Kube(core, parts)
        skins: list[Skin] = [self.aws.skin, self.kube.skin]
        self.scheduler = Scheduler(store, self.view, clock, skins, self._perform)
        offers = Offers(
            store, self.view, clock, chance.child("hosts"), config, self._offers, self._offer_named
        )
        beats = self.kube.beats
        self.hosts = Hosts(store, self.view, clock, offers, beats.alive, self._left)
        beats.attach(self.hosts.seen, self.hosts.doubt)
        ring = KeyRing(core, outside.sealer)
        self.eks = Steps(core, self.kube, ring, outside.doors, self.hosts.offer)
        self.runner: Runner | None = None
        self.status = StatusReport(core, self)
        self.hull = HullApi(
            self.view,
            clock,
            config,
            skins,
            join=self.hosts.join,
            heartbeat=self.hosts.heartbeat,
            leave=self.hosts.leave,
            ship=self.aws.intake.ingest,
            status=self.status.report,
            why=Why(self.view, self.scheduler, self.hosts.ready).reports,
            overview=Overview(core, self.status).report,
            dump=lambda: export(store),
        )
        self.failed = asyncio.Event()  # a part that nothing works without has died
        self._tasks = Tasks(on_crash=lambda _name, _error: self.failed.set())

    def _offers(self) -> tuple[ClusterOffer, ...]:
        return (self.aws.local_offer, *self.kube.offers())

    def _offer_named(self, name: str) -> ClusterOffer | None:
        return self.aws.offer_named(name) or self.kube.named(name)

    async def _left(self, instances: Sequence[Instance]) -> None:
        await self.aws.instances_gone(instances)
        await self.kube.beats.gone(instances)

    async def _perform(self, plan: Plan) -> None:
        assert self.runner is not None, "the scheduler runs after the runner was made"
        await self.runner.perform(plan)

    async def start(self) -> tuple[str, str]:
        """Follow the store, make what every Proa starts with, set everything going; returns the
        root user's access key and secret."""
        core = self._core
        self._tasks.spawn(self.view.run(), "view")
        await self.view.synced.wait()
        keys = await self.aws.prepare()
        await self.kube.prepare()
        await self.eks.restore()
        self.runner = Runner(
            core.store,
            self.view,
            core.clock,
            [*self.aws.controllers(), *self.kube.controllers(), EksController()],
            {**self.kube.performers(), **self.eks.performers()},
        )
        issuers = Issuers(self.kube.issuer_keys, self._fetch, core.clock)
        self.aws.open_gateway(self.scheduler, issuers)
        self.scheduler.start()
        self.runner.start()
        self._tasks.spawn(self.scheduler.run(), "scheduler")
        self._tasks.spawn(self.aws.sweep(), "log retention")
        self._tasks.spawn(Compactor(core.store, core.clock).run(), "compactor")
        return keys

    async def close(self) -> None:
        """Stop every task; the store is closed by who opened it."""
        if self.runner is not None:
            await self.runner.close()
        await self.eks.close()
        await self._tasks.close()
