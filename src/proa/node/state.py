"""What the agent knows of one Sandbox: desired, observed, and what it is doing about it.

``SandboxWorker`` owns a ``SandboxRun`` and changes it; ``machine.decide`` only reads it;
``status`` renders it for the control plane. Instants that are reported are wall time, instants
that are waited for are monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from proa.model.sandbox import (
    Assignment,
    Container,
    ContainerStatus,
    Sandbox,
    SandboxStatus,
    Volume,
)
from proa.node.ports import ImageInfo, RuntimeSandbox

BACKOFF_FIRST_S = 10.0  # of restarts and of pulls (kubelet: 10 s doubling to 300 s)
BACKOFF_MAX_S = 300.0
CRASH_RESET_S = 600.0  # a run this long forgets earlier crashes (kubelet: twice the maximum)


class Instant(NamedTuple):
    """Now, on both clocks."""

    wall: float
    mono: float


@dataclass(slots=True)
class Backoff:
    """Doubling delays. ``until`` is monotonic; 0 means now."""

    delay_s: float = 0.0
    until: float = 0.0

    def next(self, mono: float) -> None:
        """One more failure: wait before the next try."""
        self.delay_s = min(max(self.delay_s * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        self.until = mono + self.delay_s

    def restart(self, mono: float, ran_s: float) -> None:
        """A container has ended: the first restart is immediate, later ones are delayed."""
        if ran_s >= CRASH_RESET_S:
            self.delay_s = 0.0
        if self.delay_s == 0.0:
            self.delay_s = BACKOFF_FIRST_S / 2  # so that the next delay is the first
            self.until = mono
            return
        self.next(mono)

    def clear(self) -> None:
        self.delay_s = self.until = 0.0


@dataclass(slots=True)
class ContainerRun:
    """One container over its attempts. ``busy`` names the action under way: "pull", "start",
    "stop" or nothing."""

    spec: Container
    state: str = "waiting"  # waiting, running, exited
    busy: str = ""
    attempt: int = 0
    id: str = ""
    image: ImageInfo | None = None
    pulls: Backoff = field(default_factory=Backoff)
    pull_failures: int = 0
    starts: Backoff = field(default_factory=Backoff)  # crashes and failed creations
    reason: str = ""
    message: str = ""
    fatal: bool = False  # cannot start, and the skin says not to try again
    pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    hooked: bool = False  # the post-start hook, if any, has ended well
    started: bool = False
    ready: bool = False
    healthy: bool | None = None
    kill: str = ""  # why a probe or hook wants it killed
    kill_grace_s: int | None = None
    last: ContainerStatus | None = None
    previous_id: str = ""  # the runtime's id of the attempt before, kept for its log

    @property
    def name(self) -> str:
        return self.spec.name

    def succeeded(self) -> bool:
        return self.state == "exited" and self.exit_code == 0

    def restarts(self) -> bool:
        """Whether an exit is followed by another attempt (ECS "Container restart policy": not
        after codes that are ignored, nor after a run that was too short)."""
        spec = self.spec
        if spec.restart_after_s and self.finished_at - self.started_at < spec.restart_after_s:
            return False
        if self.exit_code in spec.restart_ignored:
            return False
        return spec.restart == "Always" or (spec.restart == "OnFailure" and self.exit_code != 0)

    def sidecar(self) -> bool:
        """An init container that keeps running beside the others (KEP-753)."""
        return self.spec.init and self.spec.restart == "Always"

    def exited(self, exit_code: int, at: float, reason: str, message: str, mono: float) -> None:
        """Its process has ended."""
        ran_s = at - self.started_at if self.started_at else 0.0
        self.state, self.exit_code, self.finished_at = "exited", exit_code, at
        self.reason = reason or ("Completed" if exit_code == 0 else "Error")
        self.message, self.pid, self.kill = message, 0, ""
        self.started = self.ready = self.hooked = False
        self.kill_grace_s = None
        if self.spec.pull == "Always" and self.restarts():
            self.image = None
        self.healthy = None if self.healthy is None else False
        if self.spec.restart_after_s:
            self.starts.clear()  # its own period holds it back
        else:
            self.starts.restart(mono, ran_s)

    def killed_for_memory(self, id: str) -> None:
        """The word of the kernel's kill, which may come after that of the exit."""
        if id == self.id and self.state == "exited":
            self.reason = "OOMKilled"
        elif id == self.previous_id and self.last is not None:
            self.last = msgspec.structs.replace(self.last, reason="OOMKilled")

    def looping(self) -> bool:
        """It has ended and is started again after a pause only."""
        return self.state == "exited" and self.restarts() and self.starts.delay_s >= BACKOFF_FIRST_S

    def renew(self) -> None:
        """Turn to the next attempt; the present one becomes the last."""
        self.last, self.previous_id = self._as_it_is(), self.id
        self.attempt += 1
        self.state, self.id, self.exit_code, self.healthy = "waiting", "", 0, None
        self.reason = self.message = ""
        self.created_at = self.started_at = self.finished_at = 0.0

    def status(self, stopping: bool, sandbox: Sandbox) -> ContainerStatus:
        """As reported. One that has ended and will be started again is waiting."""
        as_it_is = self._as_it_is()
        if self.state != "exited" or stopping or not self.restarts():
            return as_it_is
        delay_s, looping = int(self.starts.delay_s), self.looping()
        pod = f"{sandbox.name}_{sandbox.namespace}({sandbox.uid})"
        text = f"back-off {delay_s}s restarting failed container={self.name} pod={pod}"
        return ContainerStatus(
            name=self.name,
            reason="CrashLoopBackOff" if looping else "ContainerCreating",
            message=text if looping else "",
            attempt=self.attempt,
            restarts=self.attempt,
            id=self.id,
            image=as_it_is.image,
            image_digest=as_it_is.image_digest,
            last=_without_history(as_it_is),
        )

    def _as_it_is(self) -> ContainerStatus:
        ended = self.state == "exited"
        return ContainerStatus(
            name=self.name,
            state=self.state,
            reason=self.reason or ("ContainerCreating" if self.state == "waiting" else ""),
            message=self.message,
            attempt=self.attempt,
            restarts=self.attempt,
            id=self.id,
            image=self.spec.image,
            image_digest=self.image.digest if self.image else "",
            pid=self.pid,
            exit_code=self.exit_code if ended else None,
            signal=self.exit_code - 128 if ended and 128 < self.exit_code <= 128 + 64 else 0,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            started=self.started,
            ready=self.ready,
            healthy=self.healthy,
            last=None if self.last is None else _without_history(self.last),
        )


def _without_history(status: ContainerStatus) -> ContainerStatus:
    """One attempt back is enough: histories must not grow."""
    return status if status.last is None else msgspec.structs.replace(status, last=None)


@dataclass(slots=True, frozen=True)
class Stop:
    """The Sandbox is to end. ``remove``: nothing is to be left of it. ``reason`` and ``message``
    are reported; ``why`` goes to the log."""

    why: str
    grace_s: float
    remove: bool
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class SandboxRun:
    """One Sandbox on this Host."""

    assignment: Assignment
    sandbox: Sandbox
    containers: dict[str, ContainerRun]
    runtime: RuntimeSandbox | None = None  # the CRI sandbox, ready or not
    attempt: int = 0
    busy: str = ""  # "run", "stop", "remove"
    made: tuple[Volume, ...] | None = None  # the volumes as they were last made here
    runs: Backoff = field(default_factory=Backoff)
    initialized: bool = False  # every init container has done its part in this CRI sandbox
    stop: Stop | None = None  # once set it is only sharpened
    stop_at: float = 0.0  # monotonic instant of the decision to stop
    refusal: tuple[str, str] = ("", "")  # reason and message of a Sandbox that was not admitted
    pull_started_at: float = 0.0
    pull_stopped_at: float = 0.0
    ready_at: float = 0.0
    started_at: float = 0.0
    gone: bool = False
    serial: int = 0

    @classmethod
    def of(cls, assignment: Assignment, sandbox: Sandbox) -> SandboxRun:
        """Nothing done yet."""
        runs = {spec.name: ContainerRun(spec) for spec in sandbox.containers}
        return cls(assignment, sandbox, runs)

    @property
    def uid(self) -> str:
        return self.sandbox.uid

    def ready(self) -> bool:
        """Whether containers can be started in the CRI sandbox."""
        return self.runtime is not None and self.runtime.ready and self.busy == ""

    def live(self) -> list[ContainerRun]:
        """Containers that run or are about to."""
        return [
            run
            for run in self.containers.values()
            if run.state == "running" or run.busy in ("start", "stop")
        ]

    def mains(self) -> list[ContainerRun]:
        return [run for run in self.containers.values() if not run.spec.init]

    def ended(self) -> bool:
        """Whether it has come to its end: refused, or stopped with nothing running."""
        if self.refusal[0]:
            return True
        return self.stop is not None and not self.live()

    def phase(self) -> str:
        """pending, running, succeeded or failed (Kubernetes' rules for a pod's phase)."""
        if self.refusal[0]:
            return "failed"
        if self.ended():
            assert self.stop is not None
            runs = self.mains()
            inits_failed = any(
                run.spec.init and not run.sidecar() and run.state == "exited" and run.exit_code != 0
                for run in self.containers.values()
            )
            good = all(run.succeeded() for run in runs)
            return "succeeded" if good and not inits_failed and not self.stop.reason else "failed"
        begun = [run.state != "waiting" or run.last is not None for run in self.mains()]
        return "running" if begun and all(begun) else "pending"

    def status(self) -> SandboxStatus:
        """As reported, with the serial already given."""
        reason, message = self.refusal
        if self.stop is not None and not reason:
            reason, message = self.stop.reason, self.stop.message
        return SandboxStatus(
            uid=self.uid,
            phase=self.phase(),
            reason=reason,
            message=message,
            key=self.sandbox.key,
            skin=self.sandbox.skin,
            address=self.runtime.address if self.runtime else "",
            containers=tuple(self._containers()),
            pull_started_at=self.pull_started_at,
            pull_stopped_at=self.pull_stopped_at,
            sandbox_ready_at=self.ready_at,
            started_at=self.started_at,
            stopping=self.stop is not None,
            gone=self.gone,
            serial=self.serial,
        )

    def _containers(self) -> list[ContainerStatus]:
        stopping = self.stop is not None
        statuses = [run.status(stopping, self.sandbox) for run in self.containers.values()]
        if self.initialized:
            return statuses
        has_init = any(run.spec.init for run in self.containers.values())
        return [
            msgspec.structs.replace(status, reason="PodInitializing")
            if has_init and status.reason == "ContainerCreating" and not run.spec.init
            else status
            for run, status in zip(self.containers.values(), statuses, strict=True)
        ]
