"""One simulated Sandbox: the agent's own decisions, carried out by timers instead of a runtime.

``crowd`` makes a ``Box`` for each Sandbox that a simulated Host is told to run. What to do next is
decided by ``node.machine``, the same function that the real agent asks, over the same records;
only the doing is simulated: a pull, a start, a stop is a timer whose length the container's
behaviour gives. Nothing here awaits; a Box costs a few timers over its whole life.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from proa.model.sandbox import Assignment, NodeEvent, Probe, Sandbox, SandboxStatus
from proa.node.machine import (
    ECS_PULL_ATTEMPTS,
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
from proa.node.ports import ImageInfo, RuntimeSandbox
from proa.node.state import ContainerRun, Instant, SandboxRun, Stop
from proa.sim.crowd_behaviour import Life, Manner, drawn, life_of

if TYPE_CHECKING:
    from proa.sim.crowd import Crowd, Machine

SANDBOX_S = 0.1  # namespace and pause container
KILLED, START_ERROR = 137, 128
_BACKOFF_SHOWN_S = 1.0  # ErrImagePull turns into ImagePullBackOff after this
_MIN_STOP_S = 2.0  # what remains for the signal after a pre-stop hook


class Box:
    """One Sandbox on one Machine. ``said`` is the status that was last reported, ``holds`` whether
    the machine's books count it."""

    __slots__ = ("_crowd", "_lives", "_machine", "_timers", "holds", "loads", "run", "said")

    def __init__(self, crowd: Crowd, machine: Machine, run: SandboxRun) -> None:
        self._crowd, self._machine, self.run = crowd, machine, run
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._lives: dict[str, Life] = {}
        self.loads: dict[str, tuple[Manner, int, int]] = {}  # running: behaviour, CPU, memory
        self.said: SandboxStatus | None = None
        self.holds = False

    @property
    def asked_to_stop(self) -> bool:
        """Whether the control plane wants it to end."""
        return self.run.assignment.want != "run"

    # What comes in

    def assign(self, assignment: Assignment) -> None:
        """A newer form of the assignment, as ``node.worker`` takes it."""
        self.run.assignment = assignment
        if assignment.sandbox is not None and assignment.sandbox != self.run.sandbox:
            self._respecify(assignment.sandbox)
        self.poke()

    def _respecify(self, sandbox: Sandbox) -> None:
        self.run.sandbox = sandbox
        for spec in sandbox.containers:
            container = self.run.containers.setdefault(spec.name, ContainerRun(spec))
            image_changed = spec.image != container.spec.image
            if container.spec.blocked and not spec.blocked:
                container.reason = container.message = ""
                container.fatal = False
            container.spec = spec
            if image_changed:
                container.image = None
                container.pulls.clear()
                if container.state == "running":
                    container.kill = f"Container {spec.name} definition changed, will be restarted"

    def kill(self, name: str, exit_code: int = KILLED) -> bool:
        """A container ends by itself; whether it ran."""
        container = self.run.containers.get(name)
        if container is None or container.state != "running":
            return False
        self._exited(container, exit_code)
        return True

    def vanish(self) -> None:
        """The machine is gone, and this with it: nothing will happen any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for name in list(self.loads):
            self._unload(name)

    # Deciding

    def poke(self) -> None:
        """Something may have changed: decide, do what takes no time, set timers for the rest."""
        run, clock = self.run, self._crowd.clock
        if run.gone:
            return
        while True:
            now = Instant(clock.now(), clock.monotonic())
            self._mark_blocked()
            run.initialized = run.initialized or (run.ready() and initialized(run))
            cause = stop_cause(run, now)
            if cause is not None:
                self._stop(cause, now.mono)
            decision = decide(run, now)
            done = [self._begin(action) for action in decision.actions]
            if True not in done:
                break
        self._cancel("", "again")
        if decision.again_at:
            self._later("", "again", decision.again_at - now.mono, self.poke)
        self._crowd.changed(self._machine, self)

    def _mark_blocked(self) -> None:
        for container in self.run.containers.values():
            if (blocked := container.spec.blocked) and container.state == "waiting":
                reason, _, text = blocked.partition(": ")
                is_ecs = self.run.sandbox.skin == "ecs"
                container.reason, container.message = reason, blocked if is_ecs else text
                container.fatal = is_ecs

    def _stop(self, cause: Stop, mono: float) -> None:
        """Decide to stop, or sharpen an earlier decision; it is never softened."""
        run = self.run
        if run.stop is None:
            run.stop, run.stop_at = cause, mono
            return
        left_s = max(0.0, run.stop_at + run.stop.grace_s - mono)
        sooner = cause.grace_s < left_s - 0.5
        if not sooner and (run.stop.remove or not cause.remove):
            return
        remove = run.stop.remove or cause.remove
        grace_s = cause.grace_s if sooner else left_s
        run.stop, run.stop_at = replace(run.stop, grace_s=grace_s, remove=remove), mono
        for container in run.containers.values():
            if sooner and container.busy == "stop":
                self._cancel(container.name, "stop")
                container.busy = ""

    def _later(self, name: str, kind: str, delay_s: float, act: Callable[..., None],
               *given: object) -> None:  # fmt: skip
        """Do something in a while; one timer of a kind a container."""
        self._cancel(name, kind)
        loop = asyncio.get_running_loop()
        self._timers[name, kind] = loop.call_later(max(0.0, delay_s), act, *given)

    def _cancel(self, name: str, kind: str) -> None:
        timer = self._timers.pop((name, kind), None)
        if timer is not None:
            timer.cancel()

    # Doing. Each returns whether it is over at once, so that there is more to decide.

    def _begin(self, action: Action) -> bool:
        run = self.run
        match action:
            case EnsureImage(name):
                return self._ensure_image(run.containers[name])
            case StartContainer(name, renew):
                return self._start(run.containers[name], renew)
            case StopContainer(name):
                return self._end(run.containers[name], action)
            case RunSandbox(attempt):
                run.busy = "run"
                self._later("", "sandbox", SANDBOX_S, self._sandbox_up, attempt)
                return False
            case AbandonPulls():
                for container in run.containers.values():
                    if container.busy == "pull":
                        self._cancel(container.name, "pull")
                        container.busy = ""
            case StopSandbox():
                self._sandbox_down()
            case RemoveSandbox():
                run.gone = True
        return True

    def _sandbox_up(self, attempt: int) -> None:
        run, now = self.run, self._crowd.clock.now()
        run.busy, run.attempt = "", attempt
        address = run.sandbox.network.address
        run.runtime = RuntimeSandbox(f"{run.uid}-{attempt}", run.uid, attempt, True, address)
        run.ready_at = run.ready_at or now
        self.poke()

    def _sandbox_down(self) -> None:
        run = self.run
        assert run.runtime is not None, "only what is there is stopped"
        run.runtime = replace(run.runtime, ready=False)

    # Images

    def _ensure_image(self, container: ContainerRun) -> bool:
        run, crowd = self.run, self._crowd
        now, reference = crowd.clock.now(), container.spec.image
        run.pull_started_at = run.pull_started_at or now
        manner = crowd.manners.of(run.sandbox, container.spec)
        if container.spec.pull != "Always" and reference in self._machine.images:
            text = f'Container image "{reference}" already present on machine'
            self._tell("Pulled", text, container=container.name)
            self._have_image(container, now)
            return True
        if container.spec.pull == "Never":
            text = f'Container image "{reference}" is not present with pull policy of Never'
            self._pull_failed(container, text, "ErrImageNeverPull")
            return True
        self._tell("Pulling", f'Pulling image "{reference}"', container=container.name)
        container.busy = "pull"
        delay_s = self._machine.pull_s(reference, drawn(manner.pull_s, crowd.chance))
        problem = manner.pull_error
        if manner.pull_fails and crowd.chance.random() < manner.pull_fails:
            problem = problem or "503 Service Unavailable"
        self._later(container.name, "pull", delay_s, self._pulled, container, delay_s, problem)
        return False

    def _pulled(self, container: ContainerRun, spent_s: float, problem: str) -> None:
        container.busy = ""
        reference = container.spec.image
        if problem:
            self._pull_failed(container, problem, "ErrImagePull")
        else:
            self._machine.images[reference] = None
            text = f"{spent_s:.3g}s"
            self._tell(
                "Pulled",
                f'Successfully pulled image "{reference}" in {text} ({text} including waiting). '
                "Image size: 1 bytes.",
                container=container.name,
            )
            self._have_image(container, self._crowd.clock.now())
        self.poke()

    def _have_image(self, container: ContainerRun, now: float) -> None:
        reference = container.spec.image
        container.image = ImageInfo(f"sim:{reference}", f"{reference}@sim", size=1)
        container.pulls.clear()
        container.pull_failures = 0
        if container.state == "waiting":
            container.reason = container.message = ""
        if all(item.image is not None for item in self.run.containers.values()):
            self.run.pull_stopped_at = now

    def _pull_failed(self, container: ContainerRun, text: str, reason: str) -> None:
        container.pull_failures += 1
        mono = self._crowd.clock.monotonic()
        container.pulls.next(mono)
        if self.run.sandbox.skin == "ecs":
            if container.pull_failures < ECS_PULL_ATTEMPTS and reason == "ErrImagePull":
                container.pulls.until = mono + 1.0
            else:
                container.reason, container.message, container.fatal = "ErrImagePull", text, True
            return
        container.reason, container.message = reason, text
        self._tell("Failed", f"Error: {reason}", "Warning", container.name)
        if reason == "ErrImagePull":
            self._later(container.name, "shown", _BACKOFF_SHOWN_S, self._show_back_off, container)

    def _show_back_off(self, container: ContainerRun) -> None:
        if container.reason == "ErrImagePull" and not container.busy:
            message = f'Back-off pulling image "{container.spec.image}"'
            text = f"{message}: ErrImagePull: {container.message}"
            container.reason, container.message = "ImagePullBackOff", text
            self._tell("BackOff", message, container=container.name)
            self.poke()

    # Containers

    def _start(self, container: ContainerRun, renew: bool) -> bool:
        crowd = self._crowd
        if renew:
            container.renew()
        manner = crowd.manners.of(self.run.sandbox, container.spec)
        life = self._lives[container.name] = life_of(manner, crowd.chance)
        container.id = crowd.chance.hex(64)
        container.created_at = crowd.clock.now()
        container.busy = "start"
        self._tell("Created", f"Created container: {container.name}", container=container.name)
        self._later(
            container.name, "start", life.start_s, self._started, container, manner, life
        )  # fmt: skip
        return False

    def _started(self, container: ContainerRun, manner: Manner, life: Life) -> None:
        container.busy, container.state = "", "running"
        container.started_at = self._crowd.clock.now()
        if manner.start_error:
            self._exited(container, START_ERROR, manner.start_error, poke=False)
            container.reason = "StartError"
            self._tell("Failed", f"Error: {manner.start_error}", "Warning", container.name)
            self.poke()
            return
        container.reason, container.message, container.hooked = "", "", True
        self._tell("Started", f"Started container {container.name}", container=container.name)
        self._load(container.name, manner)
        self._watch(container, life)
        if life.runs_s is not None:
            self._later(
                container.name, "life", life.runs_s, self._exited, container, life.exit_code
            )  # fmt: skip
        self.poke()

    def _watch(self, container: ContainerRun, life: Life) -> None:
        """Probes, by their outcome: the program answers from ``ready_s`` after its start on."""
        spec = container.spec
        if spec.startup is None:
            self._answers(container)
        else:
            after_s = succeeds_after(spec.startup, life.ready_s)
            self._later(container.name, "probe", after_s, self._startup, container, spec.startup)
        guard = spec.startup or spec.liveness
        if guard is not None:
            fails_s = fails_after(guard, life.ready_s)
            if fails_s is not None:
                self._later(container.name, "guard", fails_s, self._condemn, container, guard)

    def _startup(self, container: ContainerRun, _probe: Probe) -> None:
        self._answers(container)
        self.poke()

    def _answers(self, container: ContainerRun) -> None:
        container.started = True
        readiness = container.spec.readiness
        if readiness is None:
            container.ready = True
            return
        life = self._lives[container.name]
        since_s = self._crowd.clock.now() - container.started_at
        after_s = succeeds_after(readiness, max(0.0, life.ready_s - since_s))
        self._later(container.name, "probe", after_s, self._became_ready, container)

    def _became_ready(self, container: ContainerRun) -> None:
        container.ready = True
        if self.run.sandbox.skin == "ecs":
            container.healthy = True
        self.poke()

    def _condemn(self, container: ContainerRun, probe: Probe) -> None:
        kind = "startup" if probe is container.spec.startup else "liveness"
        container.kill_grace_s = probe.grace_s
        container.kill = f"Container {container.name} failed {kind} probe, will be restarted"
        self.poke()

    def _end(self, container: ContainerRun, action: StopContainer) -> bool:
        """Hook, signal, kill."""
        life, grace_s = self._lives[container.name], action.grace_s
        text = container.kill or f"Stopping container {container.name}"
        self._tell("Killing", text, container=container.name)
        hook, hook_s = container.spec.pre_stop, 0.0
        if hook is not None and grace_s > 0:
            hook_s = min(hook.sleep_s or 0.0, grace_s)
            grace_s = max(_MIN_STOP_S, grace_s - hook_s)
        ends = life.stops_s is not None and life.stops_s <= grace_s
        delay_s = hook_s + (life.stops_s if ends and life.stops_s is not None else grace_s)
        manner = self._crowd.manners.of_image(container.spec.image)
        code = manner.stop_exit_code if ends else KILLED
        container.busy = "stop"
        self._later(container.name, "stop", delay_s, self._exited, container, code)
        return False

    def _exited(
        self, container: ContainerRun, exit_code: int, message: str = "", *, poke: bool = True
    ) -> None:
        for kind in ("life", "probe", "guard", "stop"):
            self._cancel(container.name, kind)
        if container.busy == "stop":
            container.busy = ""
        self._unload(container.name)
        clock = self._crowd.clock
        manner = self._crowd.manners.of_image(container.spec.image)
        reason = "OOMKilled" if manner.oom and exit_code == manner.fail_code else ""
        container.exited(exit_code, clock.now(), reason, message, clock.monotonic())
        if container.looping() and self.run.stop is None:
            sandbox = self.run.sandbox
            pod = f"{sandbox.name}_{sandbox.namespace}({sandbox.uid})"
            text = f"Back-off restarting failed container {container.name} in pod {pod}"
            self._tell("BackOff", text, "Warning", container.name)
        if poke:
            self.poke()

    def _load(self, name: str, manner: Manner) -> None:
        """Its share of what the Sandbox reserves counts towards the usage."""
        reserve, count = self.run.sandbox.reserve, len(self.run.containers)
        self.loads[name] = (manner, reserve.cpu // count, reserve.memory // count)
        self._crowd.load(*self.loads[name], 1)

    def _unload(self, name: str) -> None:
        load = self.loads.pop(name, None)
        if load is not None:
            self._crowd.load(*load, -1)

    def _tell(self, reason: str, message: str, kind: str = "Normal", container: str = "") -> None:
        if self._crowd.tells:
            now = self._crowd.clock.now()
            event = NodeEvent(self.run.uid, reason, message, kind, container, now)
            self._crowd.event(self._machine, event)

    def news(self) -> SandboxStatus | None:
        """The status, if it differs from what was last reported."""
        run, said = self.run, self.said
        status = run.status()
        if said is not None and msgspec.structs.replace(status, serial=said.serial) == said:
            return None
        run.serial = max(run.serial + 1, int(self._crowd.clock.now() * 1000))
        self.said = msgspec.structs.replace(status, serial=run.serial)
        return self.said


def succeeds_after(probe: Probe, ready_s: float) -> float:
    """Seconds until a probe has succeeded, of a program that answers after ``ready_s``."""
    checks = math.ceil(max(0.0, ready_s - probe.initial_delay_s) / probe.period_s)
    return probe.initial_delay_s + (checks + probe.successes - 1) * probe.period_s


def fails_after(probe: Probe, ready_s: float) -> float | None:
    """Seconds until a probe has failed for good, if that is before the program answers."""
    last = probe.initial_delay_s + (probe.failures - 1) * probe.period_s
    return last if last < ready_s else None
