"""The AWS bow put together: the gateway over its services, ECS's place in the hull.

Called by ``assemble`` in two steps, because the scheduler stands between them: ``Aws`` makes what
the scheduler needs, ``open_gateway`` what needs the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from proa.aws.each_resource import EachResource, Resolver
from proa.aws.ec2 import service as ec2_service
from proa.aws.ecs import service as ecs_service
from proa.aws.ecs.controllers import CONTROLLERS
from proa.aws.ecs.hull import EcsSkin, SchedulerPlacer
from proa.aws.ecs.keys import cluster_key
from proa.aws.ecs.names import DEFAULT_CLUSTER
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.tables import CLUSTERS, TASKS
from proa.aws.ecs.tables import TABLES as ECS_TABLES
from proa.aws.ecs.vpc import PlannedVpc
from proa.aws.eks import service as eks_service
from proa.aws.eks.desk import Eks
from proa.aws.eks.records import TABLES as EKS_TABLES
from proa.aws.gateway.desk import Desk
from proa.aws.gateway.gateway import AwsGateway
from proa.aws.iam import service as iam_service
from proa.aws.iam.authorize import Authority
from proa.aws.logs import service as logs_service
from proa.aws.logs.groups import LogGroups
from proa.aws.logs.intake import Intake
from proa.aws.logs.shared import LogsDesk
from proa.aws.longtail.port import LongTail
from proa.aws.secretsmanager import service as secrets_service
from proa.aws.secretsmanager.records import TABLES as SECRETS_TABLES
from proa.aws.secretsmanager.shared import SecretsDesk
from proa.aws.secretsmanager.shared import resources as secret_resources
from proa.aws.ssm import service as ssm_service
from proa.aws.ssm.records import TABLES as SSM_TABLES
from proa.aws.ssm.shared import SsmDesk
from proa.aws.ssm.shared import resources as ssm_resources
from proa.aws.sts import service as sts_service
from proa.aws.sts.web_identity import IssuerKeys
from proa.aws.task_secrets import TaskSecrets
from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.cloud import identity, logs
from proa.cloud.key_uses import KeyUses
from proa.cloud.logs import EventLog, KnownExtents
from proa.cloud.secrets import Sealer
from proa.dispatch.scheduler import Scheduler
from proa.model.host import Instance
from proa.model.sandbox import SandboxStatus
from proa.reconcile.controller import Controller
from proa.reconcile.view import Table, View
from proa.server.core import Core, local_name
from proa.server.offers import ClusterOffer
from proa.server.regions import Regions
from proa.wire.sigv4 import claimed_region

log = get_logger(__name__)
SWEEP_S = 3600.0
ENDED_AT_ONCE = 100  # tasks whose end is told together
TABLES: tuple[Table[Any], ...] = (
    *ECS_TABLES,
    *EKS_TABLES,
    *identity.TABLES,
    *logs.TABLES,
    *SSM_TABLES,
    *SECRETS_TABLES,
)


def _resolvers(view: View) -> dict[str, Resolver]:
    return {"ssm": ssm_resources, "secretsmanager": partial(secret_resources, view)}


class Aws:
    """Everything of this bow."""

    def __init__(self, core: Core, sealer: Sealer, events: EventLog, long_tail: LongTail) -> None:
        self._core, self._sealer, self._long_tail = core, sealer, long_tail
        self._vpc = PlannedVpc(core.view, core.chance.child("vpc"))
        self._log_groups = LogGroups(core.view, core.chance.child("log-groups"))
        self._logs_desk = LogsDesk(
            core.store, core.view, core.chance.child("logs"), KnownExtents(events)
        )
        self._regions = Regions(core.store, core.view, core.clock, core.config)
        self._ssm_desk = SsmDesk(core.store, core.view, core.chance.child("ssm"), sealer)
        self._authority = EachResource(Authority(core.view, sealer), _resolvers(core.view))
        self._secrets_desk = SecretsDesk(
            core.store, core.view, core.chance.child("secretsmanager"), sealer, self._authority
        )
        secrets = TaskSecrets(self._ssm_desk, self._secrets_desk, core.clock)
        self.skin = EcsSkin(core.store, core.clock, self._vpc, secrets, long_tail)
        self.intake = Intake(self._logs_desk, core.clock)
        self._key_uses = KeyUses()
        self.gateway: AwsGateway | None = None

    @property
    def local_offer(self) -> ClusterOffer:
        """The ECS cluster that every Host offers an Instance to."""
        return self._offer(DEFAULT_CLUSTER)

    def offer_named(self, name: str) -> ClusterOffer | None:
        """What is offered to an active ECS cluster of the home region, by its name."""
        kind, _, cluster = name.partition("/")
        offer = self._offer(cluster)
        entry = self._core.view.rows(CLUSTERS).get(offer.prefix)
        active = kind == "ecs" and entry is not None and entry.value.status == "ACTIVE"
        return offer if active else None

    def _offer(self, cluster: str) -> ClusterOffer:
        config = self._core.config
        prefix = cluster_key(config.account, config.region, cluster)
        return ClusterOffer(prefix, name=f"ecs/{cluster}")

    async def instances_gone(self, instances: Sequence[Instance]) -> None:
        """These Instances have left for good: their tasks have ended with them."""
        view = self._core.view
        ended = [
            SandboxStatus(uid=entry.value.id, phase="failed", skin=self.skin.name, gone=True)
            for instance in instances
            for entry in view.rows(TASKS).by("instance", instance.id)
        ]
        for first in range(0, len(ended), ENDED_AT_ONCE):
            await self.skin.report(view, ended[first : first + ENDED_AT_ONCE], ())

    def controllers(self) -> list[Controller]:
        """Every controller of this bow."""
        return list(CONTROLLERS(self._vpc, self._log_groups, self._core.chance.child("ecs")))

    async def prepare(self) -> tuple[str, str]:
        """The home region, and the root user's access key and secret."""
        core = self._core
        await self._regions.ensure(core.config.account, core.config.region)
        return await identity.ensure_root(
            core.store,
            self._sealer,
            core.chance.child("root"),
            core.config.account,
            core.clock.now(),
        )

    async def sweep(self) -> None:
        """Let go what has run out: log events, parameters, deleted secrets; runs until
        cancelled."""
        while True:
            await self._core.clock.sleep(SWEEP_S)
            try:
                await self._swept(self._core.clock.now())
            except TryAgain as error:
                log.info("what has run out is let go next time", why=str(error))

    async def _swept(self, now: float) -> None:
        await self._key_uses.flush(self._core.store)
        await logs_service.sweep(self._logs_desk, now)
        await ssm_service.sweep(self._ssm_desk, now)
        await secrets_service.sweep(self._secrets_desk, now)

    def _eks(self) -> Eks:
        core = self._core
        host, services = local_name(core.config.listen), core.config.service_cidr
        return Eks(core.store, core.view, core.chance.child("eks"), host, services)

    def open_gateway(self, scheduler: Scheduler, issuers: IssuerKeys) -> None:
        """Make the gateway; requests may come from now on."""
        core = self._core
        desk = Desk(core.store, core.view, core.chance.child("iam"))
        ecs = Ecs(
            core.store,
            core.view,
            self._vpc,
            SchedulerPlacer(scheduler, self.skin),
            self._log_groups,
            core.chance.child("ecs-ids"),
        )
        services = [
            ecs_service.build(ecs),
            ec2_service.build(core.store, core.view, core.chance.child("ec2")),
            iam_service.build(desk, self._sealer, self._key_uses),
            sts_service.build(desk, self._sealer, issuers),
            eks_service.build(self._eks()),
            logs_service.build(self._logs_desk),
            ssm_service.build(self._ssm_desk),
            secrets_service.build(self._secrets_desk),
        ]
        credentials = identity.Identities(core.view, self._sealer)
        self.gateway = AwsGateway(
            services,
            credentials,
            core.clock,
            core.chance.child("gateway"),
            self._authority,
            self._long_tail,
            self._key_uses,
        )

    def warm(self) -> None:
        """Compile what the first requests would otherwise wait for."""
        assert self.gateway is not None, "requests come after open_gateway"
        self.gateway.warm()

    def oversized(self, request: Request) -> Response:
        """Refuse a body beyond the shell's limit, in the protocol's shape."""
        assert self.gateway is not None, "requests come after open_gateway"
        return self.gateway.oversized(request)

    async def handle(self, request: Request) -> Response:
        """Answer one request; its region comes into being if it is the first of it."""
        assert self.gateway is not None, "requests come after open_gateway"
        region = claimed_region(request)
        if region and region != "aws-global":
            await self._regions.ensure(self._core.config.account, region)
        return await self.gateway.handle(request)
