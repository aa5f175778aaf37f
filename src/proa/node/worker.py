"""One Sandbox on its way through life: asks ``machine.decide`` and carries the answer out.

``Agent`` makes a worker for each Sandbox, hands it changed assignments and exits, and forgets
it once it is gone. ``poke`` is the only place where decisions are asked for; it never waits.
Each action is a task of its own, so that nothing waits for what it does not need.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec

from proa.base.aio import Tasks
from proa.base.telemetry import get_logger
from proa.model.sandbox import Assignment, NodeEvent, Sandbox
from proa.node import actions
from proa.node.context import Context
from proa.node.health import Health
from proa.node.logs import LogFiles, last_lines
from proa.node.machine import (
    AbandonPulls,
    Action,
    EnsureImage,
    RemoveSandbox,
    RunSandbox,
    StartContainer,
    StopContainer,
    StopSandbox,
    decide,
    initialized,
    stop_cause,
)
from proa.node.ports import Exited, Target
from proa.node.state import ContainerRun, SandboxRun, Stop

log = get_logger(__name__)
_MESSAGE_LINES, _MESSAGE_BYTES = 80, 2048  # kubelet, FallbackToLogsOnError
_LOG_SETTLES_S = 0.2  # an exit is known before the runtime has written the last lines
_CRASH_RETRY_S = 5.0  # after a bug of ours: decide again, not at once


class SandboxWorker:
    """Owner of one ``SandboxRun``."""

    def __init__(self, run: SandboxRun, context: Context) -> None:
        self.run = run
        self.context = context
        self._tasks = Tasks()
        self._by_container: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._health: dict[str, Health] = {}
        self._early: dict[str, Exited] = {}  # exits that came before their start was answered
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # What comes in

    def assign(self, assignment: Assignment) -> None:
        """A newer form of the assignment. A changed image restarts its container; any other
        change waits for the next attempt, and files are brought up to date at once."""
        run = self.run
        run.assignment = assignment
        if assignment.sandbox is not None and assignment.sandbox != run.sandbox:
            self._respecify(assignment.sandbox)
        self.poke()

    def _respecify(self, sandbox: Sandbox) -> None:
        run = self.run
        files_changed = sandbox.volumes != run.sandbox.volumes
        run.sandbox = sandbox
        for spec in sandbox.containers:
            container = run.containers.setdefault(spec.name, ContainerRun(spec))
            image_changed = spec.image != container.spec.image
            unblocked = container.spec.blocked and not spec.blocked
            container.spec = spec
            if unblocked:
                container.reason = container.message = ""
                container.fatal = False
            if image_changed:
                container.image = None
                container.pulls.clear()
                if container.state == "running":
                    container.kill = f"Container {spec.name} definition changed, will be restarted"
        if files_changed and run.runtime is not None:
            self._tasks.spawn(actions.update_volumes(self), f"volumes {run.uid}")

    def exited(self, event: Exited) -> bool:
        """The runtime tells of an exit; whether it concerns this Sandbox."""
        run = self.run
        if run.runtime is not None and event.id == run.runtime.id:
            run.runtime = replace(run.runtime, ready=False)
            self.poke()
            return True
        for container in run.containers.values():
            if container.id == event.id:
                if container.busy == "start" and container.state != "running":
                    self._early[event.id] = event
                else:
                    self.end(container, event)
                    self.poke()
            elif container.previous_id != event.id:
                continue
            if event.oom:
                container.killed_for_memory(event.id)
                self.poke()
            return True
        return False

    def end(self, container: ContainerRun, event: Exited, message: str = "") -> None:
        """A container's process is over: take it down in the books."""
        if container.state != "running":
            return
        self._stop_health(container)
        written = self.context.volumes.termination_message(
            self.run.uid, container.name, container.attempt
        )
        reason = "OOMKilled" if event.oom else ""
        mono = self.context.clock.monotonic()
        text = message or written
        if not text and event.exit_code and container.spec.termination_message_from_logs:
            self.background(self._message_from_log(container, container.attempt), "message")
        container.exited(event.exit_code, event.at, reason, text, mono)
        if container.looping() and self.run.stop is None:
            sandbox = self.run.sandbox
            pod = f"{sandbox.name}_{sandbox.namespace}({sandbox.uid})"
            text = f"Back-off restarting failed container {container.name} in pod {pod}"
            self.tell("BackOff", text, "Warning", container.name)

    async def _message_from_log(self, container: ContainerRun, attempt: int) -> None:
        """The end of the log as the termination message, once the runtime has written it."""
        await self.context.clock.sleep(_LOG_SETTLES_S)
        files = LogFiles(self.context.log_dir(self.run.uid) / container.name, attempt)
        text = last_lines(files, _MESSAGE_LINES, _MESSAGE_BYTES)
        if container.attempt == attempt and container.state == "exited":
            container.message = container.message or text
        elif container.last is not None and container.last.attempt == attempt:
            container.last = msgspec.structs.replace(container.last, message=text)
        self.poke()

    def target(self, container: ContainerRun) -> Target:
        """Where the probes and hooks of a container are aimed at."""
        runtime, own = self.run.runtime, container.spec.network
        if own is not None:
            address = own.address if own.mode == "vpc" else ""
            return Target(self.run.uid, container.id, address, self._own_namespace(container))
        address = runtime.address if runtime is not None else ""
        return Target(self.run.uid, container.id, address, self.namespace())

    def namespace(self) -> str:
        """Path of the network namespace that the Sandbox's containers share; empty: the
        machine's own."""
        if self.run.sandbox.network.mode == "host":
            return self.context.network.instance_namespace(self.run.sandbox.instance)
        return self.run.runtime.netns if self.run.runtime is not None else ""

    def _own_namespace(self, container: ContainerRun) -> str:
        return self.context.network.container_namespace(self.run.uid, container.name)

    def early_exit(self, id: str) -> Exited | None:
        """An exit that was reported before the start had been answered."""
        return self._early.pop(id, None)

    def watch_health(self, container: ContainerRun, adopted: bool) -> None:
        """Begin the probes of a container that runs now."""
        skin, target = self.run.sandbox.skin, self.target(container)
        health = Health(self.context, container, target, skin, adopted, self.poke)
        self._health[container.name] = health
        health.start()

    def _stop_health(self, container: ContainerRun) -> None:
        health = self._health.pop(container.name, None)
        if health is not None:
            self._tasks.spawn(health.close(), f"end of probes {container.name}")

    # Deciding and doing

    def poke(self) -> None:
        """Something may have changed: decide, begin what is to be done, report."""
        if self._closed or self.run.gone:
            return
        run, now = self.run, self.context.now()
        self._mark_blocked()
        run.initialized = run.initialized or (run.ready() and initialized(run))
        cause = stop_cause(run, now)
        if cause is not None:
            self._stop(cause)
        decision = decide(run, now)
        for action in decision.actions:
            self._begin(action)
        self._set_timer(decision.again_at - now.mono if decision.again_at else None)
        self.context.changed(run)

    def _mark_blocked(self) -> None:
        """Containers that cannot be made yet say why ("Reason: text"); ECS gives up."""
        for container in self.run.containers.values():
            blocked = container.spec.blocked
            if not blocked or container.state != "waiting":
                continue
            reason, _, text = blocked.partition(": ")
            is_ecs = self.run.sandbox.skin == "ecs"
            said = (container.reason, container.message)
            container.reason, container.message = reason, blocked if is_ecs else text
            container.fatal = is_ecs
            if said != (container.reason, container.message):
                self._tell_blocked(container)

    def _tell_blocked(self, container: ContainerRun) -> None:
        """A volume that cannot be made is news of the whole Sandbox, said by its first one."""
        if container.reason != "ContainerCreating":
            self.tell("Failed", f"Error: {container.message}", "Warning", container.name)
        elif container.name == self.run.sandbox.containers[0].name:
            self.tell("FailedMount", container.message, "Warning")

    def _stop(self, cause: Stop) -> None:
        """Take the decision to stop, or sharpen an earlier one; it is never softened."""
        run, mono = self.run, self.context.clock.monotonic()
        if run.stop is None:
            run.stop, run.stop_at = cause, mono
            log.info("sandbox stops", uid=run.uid, why=cause.why)
            return
        left_s = max(0.0, run.stop_at + run.stop.grace_s - mono)
        sooner = cause.grace_s < left_s - 0.5
        if not sooner and (run.stop.remove or not cause.remove):
            return
        remove = run.stop.remove or cause.remove
        grace_s = cause.grace_s if sooner else left_s
        run.stop, run.stop_at = replace(run.stop, grace_s=grace_s, remove=remove), mono
        if sooner:
            for container in run.containers.values():
                if container.busy == "stop":
                    self._cancel(container.name, "stop")

    def _begin(self, action: Action) -> None:
        run = self.run
        match action:
            case EnsureImage(name):
                self._container_task(name, "pull", actions.ensure_image(self, name))
            case StartContainer(name, renew):
                self._container_task(name, "start", actions.start_container(self, name, renew))
            case StopContainer(name):
                self._container_task(name, "stop", actions.stop_container(self, action))
            case AbandonPulls():
                for name in run.containers:
                    self._cancel(name, "pull")
            case RunSandbox():
                self._sandbox_task("run", actions.run_sandbox(self, action.attempt))
            case StopSandbox():
                self._sandbox_task("stop", actions.stop_sandbox(self))
            case RemoveSandbox():
                self._sandbox_task("remove", actions.remove_sandbox(self))

    def _container_task(self, name: str, kind: str, work: actions.Work) -> None:
        container = self.run.containers[name]
        container.busy = kind

        def done(task: asyncio.Task[None]) -> None:
            self._by_container.pop((name, kind), None)
            container.busy = ""
            self._again(task)

        task = self._tasks.spawn(work, f"{kind} {name} of {self.run.uid}")
        self._by_container[name, kind] = task
        task.add_done_callback(done)

    def _sandbox_task(self, kind: str, work: actions.Work) -> None:
        self.run.busy = kind

        def done(task: asyncio.Task[None]) -> None:
            self.run.busy = ""
            self._again(task)

        self._tasks.spawn(work, f"{kind} sandbox {self.run.uid}").add_done_callback(done)

    def _again(self, task: asyncio.Task[None]) -> None:
        """An action has ended: decide anew, after a bug of ours not at once."""
        if task.cancelled() or task.exception() is None:
            self.poke()
        else:
            self._set_timer(_CRASH_RETRY_S)

    def background(self, work: actions.Work, title: str) -> None:
        """A task that lives no longer than this worker."""
        self._tasks.spawn(work, title)

    def _cancel(self, name: str, kind: str) -> None:
        task = self._by_container.get((name, kind))
        if task is not None:
            task.cancel()

    def _set_timer(self, delay_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, delay_s), self.poke)

    def tell(self, reason: str, message: str, kind: str = "Normal", container: str = "") -> None:
        """News for users."""
        now = self.context.clock.now()
        self.context.event(NodeEvent(self.run.uid, reason, message, kind, container, now))

    async def close(self) -> None:
        """Stop deciding; what runs goes on."""
        self._closed = True
        self._set_timer(None)
        for health in list(self._health.values()):
            await health.close()
        await self._tasks.close()
