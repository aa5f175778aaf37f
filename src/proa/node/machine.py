"""What to do next about one Sandbox: a pure function of what is known of it.

``SandboxWorker`` calls ``decide`` whenever something has changed, and carries the actions out.
An action in hand marks its container or Sandbox ``busy``, so the same action is never decided
twice. The rules are the kubelet's for pods and the ECS agent's for tasks (``skin``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proa.model.sandbox import Dependency
from proa.node.state import ContainerRun, Instant, SandboxRun, Stop

_MIN_STOP_S = 2.0  # what remains for the signal after a pre-stop hook (kubelet)
ECS_PULL_ATTEMPTS = 3


@dataclass(slots=True, frozen=True)
class EnsureImage:
    container: str


@dataclass(slots=True, frozen=True)
class RunSandbox:
    """Volumes, namespace, address and CRI sandbox."""

    attempt: int


@dataclass(slots=True, frozen=True)
class StartContainer:
    """Create and start; ``renew``: as the next attempt."""

    container: str
    renew: bool = False


@dataclass(slots=True, frozen=True)
class StopContainer:
    """Pre-stop hook, signal, at most ``grace_s`` in all, kill."""

    container: str
    grace_s: float
    why: str


@dataclass(slots=True, frozen=True)
class StopSandbox:
    """Release the network; ended containers stay readable."""


@dataclass(slots=True, frozen=True)
class RemoveSandbox:
    """Leave nothing: containers, CRI sandboxes, volumes."""


@dataclass(slots=True, frozen=True)
class AbandonPulls:
    """Cancel the pulls: nobody needs the images any more."""


Action = (
    EnsureImage
    | RunSandbox
    | StartContainer
    | StopContainer
    | StopSandbox
    | RemoveSandbox
    | AbandonPulls
)


@dataclass(slots=True)
class Decision:
    """``again_at`` is the monotonic instant to decide anew without any news; 0: none."""

    actions: list[Action] = field(default_factory=list)
    again_at: float = 0.0

    def wait(self, until: float) -> None:
        if not self.again_at or until < self.again_at:
            self.again_at = until


def decide(run: SandboxRun, now: Instant) -> Decision:
    """The next actions. Sets nothing; ``stop_cause`` tells separately whether it must end."""
    decision = Decision()
    if run.gone:
        return decision
    if run.refusal[0]:
        if run.assignment.want != "run" and not run.busy:
            decision.actions.append(RemoveSandbox())
        return decision
    if run.stop is not None:
        _wind_down(run, run.stop, now, decision)
        return decision
    _deadline(run, now, decision)
    _images(run, now, decision)
    if run.runtime is None or not run.runtime.ready:
        _sandbox(run, now, decision)
        return decision
    if run.busy:
        return decision
    for container in run.containers.values():
        _container(run, container, now, decision)
    return decision


# Whether it must end


def stop_cause(run: SandboxRun, now: Instant) -> Stop | None:
    """Why the Sandbox has to end, if it has to; the first of these that holds."""
    assignment, sandbox = run.assignment, run.sandbox
    if assignment.want == "gone":
        return Stop("gone", 0.0, remove=True)
    if assignment.want == "stop":
        spent = max(0.0, now.wall - assignment.since) if assignment.since else 0.0
        return Stop("asked", max(0.0, assignment.grace_s - spent), remove=True)
    if run.refusal[0]:
        return None
    deadline = sandbox.active_deadline_s
    if deadline and run.started_at and now.wall >= run.started_at + deadline:
        message = "Pod was active on the node longer than the specified deadline"
        return Stop("deadline", sandbox.grace_s, False, "DeadlineExceeded", message)
    if not any(item.fatal or item.state == "exited" for item in run.containers.values()):
        return None  # what follows is about those that cannot start or have ended
    remove = sandbox.skin == "ecs"
    if any(container.fatal for container in run.containers.values()):
        return Stop("cannot start", sandbox.grace_s, remove)
    if sandbox.skin == "ecs" and _essential_ended(run):
        return Stop("essential container exited", sandbox.grace_s, remove)
    if any(container.spec.essential and hopeless(run, container) for container in run.mains()):
        return Stop("a dependency failed", sandbox.grace_s, remove)
    if _completed(run):
        return Stop("completed", sandbox.grace_s, remove)
    return None


def _final(container: ContainerRun) -> bool:
    return container.state == "exited" and not container.busy and not container.restarts()


def _essential_ended(run: SandboxRun) -> bool:
    return any(container.spec.essential and _final(container) for container in run.mains())


def _completed(run: SandboxRun) -> bool:
    """Nothing will run any more: every main container has ended, or an init container failed."""
    for container in run.containers.values():
        if container.spec.init and _final(container) and container.exit_code != 0:
            return True
    mains = run.mains()
    return bool(mains) and all(_final(container) for container in mains)


def _deadline(run: SandboxRun, now: Instant, decision: Decision) -> None:
    seconds = run.sandbox.active_deadline_s
    if seconds and run.started_at:
        decision.wait(now.mono + max(0.0, run.started_at + seconds - now.wall))


# Towards running


def _images(run: SandboxRun, now: Instant, decision: Decision) -> None:
    """Every missing image is fetched at once, beside the making of the sandbox."""
    for container in run.containers.values():
        if container.image is not None or container.busy or container.spec.blocked:
            continue
        if container.state == "running" or (container.state == "exited" and _final(container)):
            continue
        if container.pulls.until > now.mono:
            decision.wait(container.pulls.until)
        else:
            decision.actions.append(EnsureImage(container.name))


def _sandbox(run: SandboxRun, now: Instant, decision: Decision) -> None:
    if run.busy:
        return
    if run.runtime is not None:  # its pause process has ended: begin anew
        if any(container.busy == "start" for container in run.containers.values()):
            return  # it fails soon
        decision.actions.append(StopSandbox())
    elif run.runs.until > now.mono:
        decision.wait(run.runs.until)
    else:
        decision.actions.append(RunSandbox(run.attempt))


def _container(run: SandboxRun, container: ContainerRun, now: Instant, decision: Decision) -> None:
    if container.busy:
        return
    if container.state == "running":
        if container.kill:
            grace = container.kill_grace_s
            grace_s = float(_grace(run, container) if grace is None else grace)
            decision.actions.append(StopContainer(container.name, grace_s, container.kill))
        return
    if container.image is None:
        return
    if container.state == "exited" and not container.restarts():
        return
    if not _may_start(run, container):
        return
    if container.starts.until > now.mono:
        decision.wait(container.starts.until)
        return
    decision.actions.append(StartContainer(container.name, renew=container.state == "exited"))


def _grace(run: SandboxRun, container: ContainerRun) -> int:
    own = container.spec.stop_grace_s
    return run.sandbox.grace_s if own is None else own


def _may_start(run: SandboxRun, container: ContainerRun) -> bool:
    """Order: init containers one after the other, hooks before the next container, dependsOn.
    A container that has run before is restarted without regard to the others."""
    if container.spec.blocked:
        return False
    if not run.initialized:
        for other in run.containers.values():
            if other is container:
                break
            if other.spec.init and not _init_done(other):
                return False
    if container.last is not None or container.state != "waiting":
        return True
    for other in run.containers.values():
        if other is container:
            break
        if not other.spec.init and other.spec.post_start is not None and not _past_hook(other):
            return False
    return all(met(run, dependency) for dependency in container.spec.depends_on)


def initialized(run: SandboxRun) -> bool:
    """Whether every init container has done its part."""
    return all(
        _init_done(container) for container in run.containers.values() if container.spec.init
    )


def _init_done(container: ContainerRun) -> bool:
    if container.sidecar():
        return container.state == "running" and container.started and container.hooked
    return container.succeeded()


def _past_hook(container: ContainerRun) -> bool:
    return container.state == "exited" or container.hooked


def met(run: SandboxRun, dependency: Dependency) -> bool:
    """Whether a dependency holds (ECS "Container dependency": START, COMPLETE, SUCCESS,
    HEALTHY). A container that is not there never holds anybody up."""
    other = run.containers.get(dependency.container)
    if other is None:
        return True
    if dependency.condition == "START":
        return other.state != "waiting"
    if dependency.condition == "COMPLETE":
        return other.state == "exited"
    if dependency.condition == "SUCCESS":
        return other.succeeded()
    return other.state == "running" and other.healthy is True


def hopeless(run: SandboxRun, container: ContainerRun) -> str:
    """Why a dependency of ``container`` can never hold any more; empty while it may."""
    for dependency in container.spec.depends_on:
        other = run.containers.get(dependency.container)
        if other is None or not _final(other) or met(run, dependency):
            continue
        return f"container {other.name} ended without reaching {dependency.condition}"
    return ""


# Towards the end


def _wind_down(run: SandboxRun, stop: Stop, now: Instant, decision: Decision) -> None:
    if any(container.busy == "pull" for container in run.containers.values()):
        decision.actions.append(AbandonPulls())
    if run.busy == "run":
        return
    left_s = max(0.0, run.stop_at + stop.grace_s - now.mono)
    for container in run.containers.values():
        if container.state != "running" or container.busy:
            continue
        if stop.grace_s > 0 and _needed(run, container):
            continue
        own = container.spec.stop_grace_s
        grace_s = left_s if own is None else min(left_s, float(own))
        if stop.grace_s > 0:
            grace_s = max(grace_s, 0.0 if left_s else _MIN_STOP_S)
        decision.actions.append(StopContainer(container.name, grace_s, stop.why))
    if decision.actions or run.live() or run.busy:
        return  # news will come
    if stop.remove:
        decision.actions.append(RemoveSandbox())
    elif run.runtime is not None and run.runtime.ready:
        decision.actions.append(StopSandbox())


def _needed(run: SandboxRun, container: ContainerRun) -> bool:
    """Whether others that still run rely on it: dependents and, for sidecars, what was started
    after them (KEP-753: sidecars end in reverse order, after the mains)."""
    later = False
    for other in run.containers.values():
        if other is container:
            later = True
            continue
        if other.state != "running":
            continue
        if any(item.container == container.name for item in other.spec.depends_on):
            return True
        if container.sidecar() and (later or not other.spec.init):
            return True
    return False
