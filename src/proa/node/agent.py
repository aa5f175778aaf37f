"""The node agent: takes what a Host must run, sees to it, and reports.

``cli.main`` (and ``sim``) make one over real or simulated ports and await ``run``. The flow:
the feed's messages make or change workers, one a Sandbox; the runtime's exits go to them; their
news goes to the ``Reporter``. A restart of the agent, of the runtime or of the control plane
restarts no container: what was accepted is in the checkpoint, what runs is adopted by labels,
and only after ``Synced`` is anything removed for not being assigned.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import Assign, Down, Instances, Rules, Synced, Zones
from proa.model.sandbox import Assignment, NodeEvent, Sandbox, SandboxStatus
from proa.node import adoption
from proa.node.admission import admit
from proa.node.context import Context, Images
from proa.node.latest import Latest
from proa.node.ports import (
    Checkpoint,
    ControlLink,
    Listing,
    Logs,
    NetworkPort,
    Prober,
    Runtime,
    RuntimeSandbox,
    Volumes,
)
from proa.node.reporter import Reporter
from proa.node.state import SandboxRun, Stop
from proa.node.worker import SandboxWorker

log = get_logger(__name__)
_RETRY_S = 0.2
_RECALL_S = 10.0
_RETRY_MAX_S = 5.0


@dataclass(slots=True, frozen=True)
class Ports:
    """Everything the agent stands on."""

    link: ControlLink
    runtime: Runtime
    network: NetworkPort
    volumes: Volumes
    prober: Prober
    checkpoint: Checkpoint
    logs: Logs
    clock: Clock


class Agent:
    """The agent of one Host. ``log_root`` is where the runtime writes container logs."""

    def __init__(self, ports: Ports, host: str, log_root: Path) -> None:
        self._ports = ports
        self.reporter = Reporter(ports.link, ports.clock, host)
        self.context = Context(
            runtime=ports.runtime,
            network=ports.network,
            volumes=ports.volumes,
            prober=ports.prober,
            clock=ports.clock,
            log_root=log_root,
            changed=self._changed,
            event=self.reporter.event,
            images=Images(ports.runtime),
        )
        self.workers: dict[str, SandboxWorker] = {}
        self._strays: Listing = Listing()  # what runs but was not (yet) assigned
        self._known: Instances | None = None
        self._seen: dict[str, None] = {}  # uids assigned since the present connect
        self._adopted = asyncio.Event()
        self._tasks = Tasks()
        network, clock = ports.network, ports.clock
        self._instances: Latest[Instances] = Latest("instances", self._ensure, clock)
        self._rules: Latest[Rules] = Latest("rules", network.apply_rules, clock)
        self._zones: Latest[Zones] = Latest("zones", network.apply_zones, clock)

    async def run(self) -> None:
        """Work until cancelled; then leave everything running."""
        spawn = self._tasks.spawn
        spawn(self._watch_runtime(), "runtime events")
        spawn(self.reporter.run(), "reporter")
        for latest in (self._instances, self._rules, self._zones):
            spawn(latest.run(), "network")
        try:
            await self._adopted.wait()
            await self._follow()
        finally:
            await self._tasks.close()
            for worker in list(self.workers.values()):
                await worker.close()
            await self.context.images.close()
            await self._ports.logs.close()

    # The runtime

    async def _watch_runtime(self) -> None:
        """Follow exits; whenever the subscription stands anew, compare with the whole list."""
        delay_s = _RETRY_S
        while True:
            try:
                async for event in self._ports.runtime.events():
                    if event is None:
                        await self._compare(await self._ports.runtime.list())
                        delay_s = _RETRY_S
                    elif not any(worker.exited(event) for worker in self.workers.values()):
                        log.debug("exit of a stranger", id=event.id)
            except TryAgain as error:
                log.warning("runtime is away", error=str(error))
            await self._ports.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MAX_S)

    async def _compare(self, listing: Listing) -> None:
        if not self._adopted.is_set():
            await self._recall()
            self._adopt(listing)
            self._adopted.set()
            return
        now = self._ports.clock.now()
        for worker in list(self.workers.values()):
            for event in adoption.differences(worker.run, listing, now):
                worker.exited(event)
            worker.poke()

    async def _recall(self) -> None:
        """The networks as they were last told, so that Sandboxes can start before the control
        plane speaks."""
        known = self._ports.checkpoint.instances()
        if known is None or self._known is not None:
            return
        with contextlib.suppress(TimeoutError):  # what runs must be adopted all the same
            async with asyncio.timeout(_RECALL_S):
                await self._learn(known)

    async def _learn(self, known: Instances) -> None:
        self._known = known
        self._instances.set(known)
        await self._instances.tried()

    def _adopt(self, listing: Listing) -> None:
        """The agent has just started: take over what it accepted in its last life."""
        for assignment in self._ports.checkpoint.load():
            if assignment.sandbox is None:
                continue
            self._take_over(assignment, assignment.sandbox, listing)
            listing = adoption.without(listing, assignment.uid)
        self._strays = listing
        log.info("adopted", sandboxes=len(self.workers), strays=len(listing.sandboxes))

    def _take_over(self, assignment: Assignment, sandbox: Sandbox, listing: Listing) -> None:
        run = adoption.adopt(assignment, sandbox, listing, self.context.now())
        self._read_messages(run)
        held = [item for item in listing.sandboxes if item.uid == sandbox.uid]
        for item in adoption.strays([sandbox.uid], Listing(tuple(held))):
            self._remove_stray(item)
        if assignment.want == "gone" and run.runtime is None:
            run.gone, run.stop = True, Stop("over", 0.0, remove=True)
        worker = self._add(run)
        for container in run.containers.values():
            if container.state == "running":
                worker.watch_health(container, adopted=True)
        worker.poke()
        if run.gone:  # the control plane has not taken note yet
            self.reporter.changed(run)
            self._tasks.spawn(self._bury(run.uid), f"bury {run.uid}")

    def _read_messages(self, run: SandboxRun) -> None:
        """What containers that ended meanwhile have written about it."""
        for container in run.containers.values():
            if container.state == "exited" and not container.message:
                container.message = self._ports.volumes.termination_message(
                    run.uid, container.name, container.attempt
                )

    def _add(self, run: SandboxRun) -> SandboxWorker:
        worker = SandboxWorker(run, self.context)
        self.workers[run.uid] = worker
        self._ports.logs.follow(run.sandbox)
        return worker

    def _remove_stray(self, item: RuntimeSandbox) -> None:
        async def remove() -> None:
            delay_s = _RETRY_S
            while True:
                try:
                    await self._ports.runtime.stop_sandbox(item.id)
                    await self._ports.runtime.remove_sandbox(item.id)
                    return
                except (TryAgain, CallerFault) as error:
                    log.warning("cannot remove a stray", id=item.id, error=str(error))
                    await self._ports.clock.sleep(delay_s)
                    delay_s = min(delay_s * 2, _RETRY_MAX_S)

        self._tasks.spawn(remove(), f"remove stray {item.id}")

    # The feed

    async def _follow(self) -> None:
        delay_s = _RETRY_S
        while True:
            self._seen = {}
            try:
                async for message in self._ports.link.feed():
                    delay_s = _RETRY_S
                    await self._take(message)
            except TryAgain as error:
                log.info("control plane is away", error=str(error))
            await self._ports.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MAX_S)

    async def _take(self, message: Down) -> None:
        match message:
            case Assign(assignment):
                self._seen[assignment.uid] = None
                self.assign(assignment)
            case Instances():
                if message != self._known:
                    self._checkpoint(
                        lambda: self._ports.checkpoint.save_instances(message), "instances"
                    )
                await self._learn(message)
            case Rules():
                self._rules.set(message)
            case Zones():
                self._zones.set(message)
            case Synced():
                await self._synced()

    async def _ensure(self, instances: Instances) -> None:
        await self._ports.network.ensure(instances)
        await self._ports.runtime.ensure(instances)

    def assign(self, assignment: Assignment) -> None:
        """One line of the feed."""
        worker = self.workers.get(assignment.uid)
        if worker is not None:
            self._reassign(worker, assignment)
            return
        if assignment.sandbox is None or assignment.want == "gone":
            self._unknown_gone(assignment)
            return
        sandbox = assignment.sandbox
        if any(item.uid == assignment.uid for item in self._strays.sandboxes):
            self._take_over(assignment, sandbox, self._strays)
            self._strays = adoption.without(self._strays, assignment.uid)
            self._save(assignment)
            return
        run = SandboxRun.of(assignment, sandbox)
        run.started_at = self._ports.clock.now()
        if assignment.want == "run":
            run.refusal = self._admit(sandbox)
        if run.refusal[0]:
            now = self._ports.clock.now()
            self.reporter.event(NodeEvent(run.uid, *run.refusal, kind="Warning", at=now))
        self._save(assignment)
        self._add(run).poke()

    def _admit(self, sandbox: Sandbox) -> tuple[str, str]:
        if self._known is None:
            return "", ""
        runs = [worker.run for worker in self.workers.values()]
        held = [run.sandbox for run in runs if not run.ended() and not run.gone]
        return admit(sandbox, held, self._known)

    def _reassign(self, worker: SandboxWorker, assignment: Assignment) -> None:
        run = worker.run
        if assignment.sandbox is None:
            assignment = msgspec.structs.replace(assignment, sandbox=run.sandbox)
        if run.gone:
            if assignment.want == "gone":
                self._forget(run.uid)
            else:
                self.reporter.send(run.status())
            return
        if msgspec.structs.replace(assignment, version=run.assignment.version) == run.assignment:
            return  # the record was written anew, and nothing in it concerns this Host
        self._save(assignment)
        worker.assign(assignment)

    def _unknown_gone(self, assignment: Assignment) -> None:
        """Nothing of it is here, or only what an earlier life left behind."""
        for item in self._strays.sandboxes:
            if item.uid == assignment.uid:
                self._remove_stray(item)
        self._strays = adoption.without(self._strays, assignment.uid)
        serial = int(self._ports.clock.now() * 1000)
        status = SandboxStatus(assignment.uid, phase="failed", gone=True, serial=serial)
        self.reporter.send(status)
        self.reporter.forget(assignment.uid)

    async def _synced(self) -> None:
        """Now it is known what is not wanted any more."""
        for uid, worker in list(self.workers.items()):
            if uid not in self._seen:
                gone = msgspec.structs.replace(worker.run.assignment, want="gone")
                self._reassign(worker, gone)
        for item in self._strays.sandboxes:
            self._remove_stray(item)
        self._strays = Listing()
        self.reporter.again()
        alive = [uid for uid, worker in self.workers.items() if not worker.run.gone]
        try:
            await self._ports.network.keep(alive)
        except (TryAgain, CallerFault) as error:
            log.warning("cannot release interfaces", error=str(error))

    # What becomes of Sandboxes

    def _changed(self, run: SandboxRun) -> None:
        self.reporter.changed(run)
        if not run.gone:
            return
        self._tasks.spawn(self._bury(run.uid), f"bury {run.uid}")
        if run.assignment.want == "gone":
            self._forget(run.uid)
        else:  # remember that it is over, until the control plane has taken note
            self._save(msgspec.structs.replace(run.assignment, want="gone"))

    async def _bury(self, uid: str) -> None:
        """Ship the last lines, then delete the log files."""
        await self._ports.logs.finish(uid)
        await self._ports.logs.remove(uid)

    def _save(self, assignment: Assignment) -> None:
        self._checkpoint(lambda: self._ports.checkpoint.save(assignment), assignment.uid)

    def _checkpoint(self, work: Callable[[], Awaitable[None]], uid: str) -> None:
        async def keep() -> None:
            try:
                await work()
            except OSError as error:
                log.error("checkpoint failed", uid=uid, error=str(error))

        self._tasks.spawn(keep(), f"checkpoint {uid}")

    def _forget(self, uid: str) -> None:
        worker = self.workers.pop(uid, None)
        if worker is not None:
            self._tasks.spawn(worker.close(), f"close {uid}")
        self.reporter.forget(uid)
        self._checkpoint(lambda: self._ports.checkpoint.forget(uid), uid)
