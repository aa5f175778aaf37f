"""A small world for ECS's tests: the real store, view, runner, scheduler and networks under
virtual time, with a fake agent that runs containers by rules of their image's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import botocore.session
import msgspec
from botocore.validate import ParamValidator

from proa.aws.ecs import hull
from proa.aws.ecs.bootstrap import bootstrap
from proa.aws.ecs.controllers import CONTROLLERS
from proa.aws.ecs.keys import cluster_key, service_key
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Service, Task
from proa.aws.ecs.service import build
from proa.aws.ecs.tables import CLUSTERS, SERVICES, TABLES, TASKS
from proa.aws.ecs.vpc import PlannedVpc
from proa.aws.gateway.service import Context
from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.cloud import compute, network
from proa.dispatch.scheduler import Scheduler
from proa.dispatch.skin import Parts
from proa.model.host import Host
from proa.model.resources import Resources
from proa.model.sandbox import ContainerStatus, SandboxStatus
from proa.reconcile.runner import Runner
from proa.reconcile.view import View
from proa.store.api import Guard, Put, Transaction
from proa.store.sqlite import memory_store

ACCOUNT, REGION = "000000000000", "us-east-1"
MODEL = botocore.session.get_session().get_service_model("ecs")
FARGATE_SIZE = {"cpu": "256", "memory": "512"}


@dataclass
class FakeLogGroups:
    """Log groups as a set; creating one is a key of its own."""

    view: View
    present: set[str] = field(default_factory=set)
    created: list[str] = field(default_factory=list)

    def exists(self, account: str, region: str, group: str) -> bool:
        return group in self.present

    def plan_create(self, account: str, region: str, group: str, now: float) -> Parts:
        self.present.add(group)
        self.created.append(group)
        key = f"/test/logs/{region}/{group.replace('/', '_')}"
        return Parts((Guard(key, 0),), (Put(key, b"{}"),))


@dataclass
class FakeSecrets:
    values: dict[str, str] = field(default_factory=dict)

    async def value(self, account: str, region: str, role: str, value_from: str) -> str:
        if value_from not in self.values:
            raise CallerFault(f"no secret {value_from}")
        return self.values[value_from]


@dataclass
class FakeObjects:
    """Objects by "bucket/key"."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    async def object(self, account: str, region: str, bucket: str, key: str) -> bytes:
        if f"{bucket}/{key}" not in self.bodies:
            raise CallerFault("NoSuchKey: The specified key does not exist.")
        return self.bodies[f"{bucket}/{key}"]


@dataclass
class Behaviour:
    """What containers of an image do. ``exits_after`` None: they run until stopped."""

    start_s: float = 1.0
    exits_after: float | None = None
    exit_code: int = 0
    pull_error: str = ""
    healthy: bool | None = None
    reason: str = ""


class FakeAgent:
    """Runs what is dispatched, by the behaviour of its images; reports every ``period_s``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.behaviours: dict[str, Behaviour] = {}
        self.seen: dict[str, float] = {}
        self.stopping: dict[str, float] = {}
        self.killed: set[str] = set()
        self.stop_s, self.period_s = 1.0, 0.5
        self.serial = 0

    async def run(self) -> None:
        while True:
            await self.tick()
            await self.world.clock.sleep(self.period_s)

    async def tick(self) -> None:
        view = self.world.view
        now = self.world.clock.now()
        statuses = []
        for entry in list(view.rows(TASKS).scan()):
            task = entry.value
            if not hull.is_dispatched(task):
                continue
            assignment = await self.world.skin.assignment(view, entry.key)
            if assignment is None:
                continue
            self.seen.setdefault(task.id, now)
            if assignment.want == "stop":
                self.stopping.setdefault(task.id, now)
            statuses.append(self._status(task, now))
        if statuses:
            await self.world.skin.report(view, statuses, ())

    def _status(self, task: Task, now: float) -> SandboxStatus:
        self.serial += 1
        told = self.stopping.get(task.id)
        is_gone = told is not None and now - told >= self.stop_s
        containers = tuple(
            self._container(task, item.name, now, is_gone) for item in task.containers
        )
        over = all(item.state == "exited" for item in containers)
        running = all(item.state != "waiting" for item in containers)
        phase = "running" if running and not over else "failed" if over else "pending"
        return SandboxStatus(
            uid=task.id,
            phase=phase,
            key=task.key,
            skin="ecs",
            containers=containers,
            sandbox_ready_at=self.seen[task.id],
            pull_started_at=self.seen[task.id],
            pull_stopped_at=self.seen[task.id],
            stopping=told is not None,
            gone=is_gone,
            serial=self.serial,
        )

    def _container(self, task: Task, name: str, now: float, gone: bool) -> ContainerStatus:
        image = next(item.image for item in task.containers if item.name == name)
        rule = self.behaviours.get(image, Behaviour())
        born = self.seen[task.id]
        if rule.pull_error:
            return ContainerStatus(
                name, "exited" if gone else "waiting", "ErrImagePull", rule.pull_error
            )
        if now - born < rule.start_s:
            return ContainerStatus(name, "waiting", "ContainerCreating")
        started = born + rule.start_s
        ended = rule.exits_after is not None and now - started >= rule.exits_after
        if task.id in self.killed:
            return ContainerStatus(
                name, "exited", "Error", exit_code=137, started_at=started, finished_at=now
            )
        if gone or ended:
            return ContainerStatus(
                name,
                "exited",
                rule.reason,
                exit_code=rule.exit_code if ended else 143,
                started_at=started,
                finished_at=now,
            )
        return ContainerStatus(
            name,
            "running",
            id=f"c-{task.id[:8]}",
            started_at=started,
            ready=True,
            healthy=rule.healthy,
            image_digest="example/web@sha256:abc",
        )


class World:
    """Everything, wired as the assembly wires it. Use ``run_world``."""

    def __init__(self, settle_s: float, pool: Resources) -> None:
        self.clock = VirtualClock()
        self.settle_s, self.pool = settle_s, pool
        self.tasks = Tasks()
        self.chance = Chance("world")
        self.on_commit: Callable[[], None] | None = None

    async def open(self) -> None:
        self.store = await memory_store(self.clock)
        config = Config()
        await self.store.commit(network.bootstrap_network(ACCOUNT, REGION, config))
        await self.store.commit(bootstrap(ACCOUNT, REGION, self.clock.now()))
        tables = (*TABLES, *network.NETWORK_TABLES, compute.HOSTS, compute.INSTANCES)
        self.view = View(self.store, tables)
        self.tasks.spawn(self.view.run(), "view")
        await self.view.synced.wait()
        self.vpc = PlannedVpc(self.view, self.chance.child("vpc"))
        self.logs, self.secrets = FakeLogGroups(self.view), FakeSecrets()
        self.objects = FakeObjects()
        self.skin = hull.EcsSkin(self.store, self.clock, self.vpc, self.secrets, self.objects)
        self.runner = Runner(
            self.store,
            self.view,
            self.clock,
            CONTROLLERS(self.vpc, self.logs, self.chance.child("controllers"), self.settle_s),
        )
        self.scheduler = Scheduler(
            self.store, self.view, self.clock, [self.skin], self.runner.perform
        )
        await self._add_host()
        placer = hull.SchedulerPlacer(self.scheduler, self.skin)
        ecs = Ecs(
            self.store, self.view, self.vpc, placer, self.logs, self.chance.child("operations")
        )
        self.service = build(ecs)
        self.runner.start()
        self.scheduler.start()
        self.tasks.spawn(self._watch(), "watch")
        self.agent = FakeAgent(self)
        self.tasks.spawn(self.scheduler.run(), "scheduler")
        self.tasks.spawn(self.agent.run(), "agent")

    async def _watch(self) -> None:
        """Call ``on_commit`` once the view shows each commit whole."""
        async for _ in self.store.watch("/aws/", after=self.view.version):
            if self.on_commit is not None:
                await self.view.reached(await self.store.version())
                self.on_commit()

    async def _add_host(self) -> None:
        host = Host(id="host-1", physical=self.pool, pool=self.pool)
        self.subnets = [
            item.id for item in network.NetworkPlanner(self.view).default_subnets(ACCOUNT, REGION)
        ]
        self.instance = compute.local_instance(
            host,
            cluster_key(ACCOUNT, REGION, "default"),
            zone="us-east-1a",
            subnet=self.subnets[0],
            address="172.31.0.10",
            region=REGION,
            now=self.clock.now(),
        )
        done = await self.store.commit(
            Transaction((), (compute.put_host(host), compute.put_instance(self.instance)))
        )
        await self.view.reached(done.version)

    async def add_instance(self, number: int = 2) -> str:
        """Another container instance on the same Host; its ARN."""
        made = msgspec.structs.replace(
            self.instance,
            id=compute.instance_id("more", str(number)),
            address=f"172.31.0.{10 + number}",
        )
        done = await self.store.commit(Transaction((), (compute.put_instance(made),)))
        await self.view.reached(done.version)
        arns = (await self.call("ListContainerInstances"))["containerInstanceArns"]
        return str(next(arn for arn in arns if made.id.removeprefix("i-") in arn))

    async def close(self) -> None:
        await self.runner.close()
        await self.tasks.close()
        await self.store.close()
        assert not self.runner.crashes, self.runner.crashes

    async def call(self, operation: str, region: str = REGION, **request: Any) -> dict[str, Any]:
        """Call an operation; request and answer are checked against the service model."""
        shapes = MODEL.operation_model(operation)
        _check(request, shapes.input_shape)
        context = Context(
            ACCOUNT, region, f"arn:aws:iam::{ACCOUNT}:root", "AKIA", "request", self.clock.now()
        )
        answer = await self.service.operations[operation](context, request)
        _check(answer, shapes.output_shape)
        return answer

    @property
    def network(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": self.subnets, "assignPublicIp": "ENABLED"}}

    async def define(self, family: str = "web", image: str = "web", **more: Any) -> str:
        """Register a Fargate definition with one container; returns its ARN."""
        container = {"name": "web", "image": image, **more.pop("container", {})}
        request = {
            "family": family,
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            **FARGATE_SIZE,
            "containerDefinitions": [container],
            **more,
        }
        answer = await self.call("RegisterTaskDefinition", **request)
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def define_ec2(self, family: str = "local", **more: Any) -> str:
        """Register an EC2 definition with one container of 128 MiB; returns its ARN."""
        container = {"name": "web", "image": "web", "memory": 128, **more.pop("container", {})}
        answer = await self.call(
            "RegisterTaskDefinition", family=family, containerDefinitions=[container], **more
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def create(self, name: str = "web", count: int = 2, **more: Any) -> dict[str, Any]:
        request = {
            "serviceName": name,
            "taskDefinition": "web",
            "desiredCount": count,
            "launchType": "FARGATE",
            "networkConfiguration": self.network,
            **more,
        }
        return (await self.call("CreateService", **request))["service"]

    async def described(self, name: str = "web") -> dict[str, Any]:
        return (await self.call("DescribeServices", services=[name]))["services"][0]

    async def task(self, arn: str) -> dict[str, Any]:
        return (await self.call("DescribeTasks", tasks=[arn]))["tasks"][0]

    def records(self) -> list[Task]:
        return [entry.value for entry in self.view.rows(TASKS).scan()]

    async def until(self, holds: Callable[[], Awaitable[bool]], limit_s: float = 600.0) -> None:
        """Let virtual time pass until something holds."""
        start = self.clock.now()
        while not await holds():
            assert self.clock.now() - start < limit_s, "it did not come to pass"
            await self.clock.sleep(0.25)

    async def until_status(self, arn: str, status: str, limit_s: float = 600.0) -> dict[str, Any]:
        async def holds() -> bool:
            return bool((await self.task(arn))["lastStatus"] == status)

        await self.until(holds, limit_s)
        return await self.task(arn)

    async def serve(self, count: int) -> None:
        """The service ``web`` with so many Fargate tasks, in a steady state."""
        await self.define()
        await self.create(count=count)
        await self.until_steady()

    async def until_steady(self, name: str = "web", limit_s: float = 600.0) -> dict[str, Any]:
        async def holds() -> bool:
            service = await self.described(name)
            return (
                len(service["deployments"]) == 1
                and service["runningCount"] == service["desiredCount"]
                and service["deployments"][0]["rolloutState"] == "COMPLETED"
            )

        await self.until(holds, limit_s)
        return await self.described(name)

    def service_record(self, name: str) -> Service | None:
        entry = self.view.rows(SERVICES).get(service_key(ACCOUNT, REGION, "default", name))
        return entry.value if entry else None

    def default_cluster(self) -> Any:
        return self.view.rows(CLUSTERS).get(cluster_key(ACCOUNT, REGION, "default"))


def _check(value: Any, shape: Any) -> None:
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()


BIG_POOL = Resources(cpu=64 * 1024 * CPU_PER_ECS_UNIT, memory=131_072 * MIB, sandboxes=500)


def run_world(
    story: Callable[[World], Awaitable[None]], settle_s: float = 10.0, pool: Resources = BIG_POOL
) -> None:
    """Tell one story in a fresh world, to its end."""

    async def main() -> None:
        world = World(settle_s, pool)
        await world.open()
        try:
            await story(world)
        finally:
            await world.close()

    run_virtual(main())
