"""From what the runtime holds to what the agent knows: adoption by labels. Pure.

After a restart of the agent every Sandbox is found again by uid, container and attempt, and
nothing is restarted; after a restart of containerd the books are compared with its list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from proa.model.sandbox import Assignment, Sandbox
from proa.node.ports import Exited, ImageInfo, Listing, RuntimeContainer, RuntimeSandbox
from proa.node.state import ContainerRun, Instant, SandboxRun

LOST_EXIT = 137  # exit code of a container that vanished: it was killed with its shim


def adopt(assignment: Assignment, sandbox: Sandbox, listing: Listing, now: Instant) -> SandboxRun:
    """The Sandbox as it stands in the runtime; nothing there means nothing done yet."""
    run = SandboxRun.of(assignment, sandbox)
    held = [item for item in listing.sandboxes if item.uid == sandbox.uid]
    current = max(held, key=lambda item: item.attempt, default=None)
    if current is None:
        return run
    run.runtime, run.attempt = current, current.attempt
    run.ready_at = run.started_at = current.created_at
    for container in run.containers.values():
        attempts = sorted(
            (
                item
                for item in listing.containers
                if item.uid == sandbox.uid and item.name == container.name
            ),
            key=lambda item: item.attempt,
        )
        if attempts:
            _take(container, attempts, current, now)
    run.pull_started_at = run.pull_stopped_at = current.created_at
    return run


def _take(
    container: ContainerRun,
    attempts: list[RuntimeContainer],
    current: RuntimeSandbox,
    now: Instant,
) -> None:
    """Replay the last two attempts into the books."""
    for item in attempts[-2:]:
        if container.id:
            container.renew()
        if item is attempts[-1] and item.state == "created" and item.sandbox_id == current.id:
            container.attempt, container.id = item.attempt, item.id
            return  # never started: it is made anew as the same attempt
        container.attempt, container.id = item.attempt, item.id
        container.image = ImageInfo(item.image_digest, item.image_digest)
        container.created_at, container.started_at = item.created_at, item.started_at
        container.state, container.pid = "running", item.pid
        if item.state == "exited":
            container.exited(item.exit_code, item.finished_at, item.reason, item.message, now.mono)
        elif item.state != "running" or item.sandbox_id != current.id:
            container.exited(LOST_EXIT, item.created_at, "Error", "never started", now.mono)
        else:
            _judge(container, now)


def _judge(container: ContainerRun, now: Instant) -> None:
    """It was judged before: its probes go on from there. Whether its startup probe has succeeded
    is known only when it would have been killed by now otherwise; if not, the probe goes on."""
    container.hooked = True
    probe = container.spec.startup
    if probe is not None:
        patience_s = probe.initial_delay_s + probe.failures * (probe.period_s + probe.timeout_s)
        if now.wall - container.started_at <= patience_s:
            return
    container.started = container.ready = True


def strays(known: Iterable[str], listing: Listing) -> tuple[RuntimeSandbox, ...]:
    """CRI sandboxes that belong to no Sandbox we know, and superseded ones of those we do."""
    uids = set(known)
    newest: dict[str, RuntimeSandbox] = {}
    for item in listing.sandboxes:
        best = newest.get(item.uid)
        if best is None or item.attempt > best.attempt:
            newest[item.uid] = item
    return tuple(
        item for item in listing.sandboxes if item.uid not in uids or newest[item.uid].id != item.id
    )


def differences(run: SandboxRun, listing: Listing, now: float) -> list[Exited]:
    """Exits that happened while nobody listened; also a dead CRI sandbox, as its own exit."""
    exits = []
    by_id = {item.id: item for item in listing.containers}
    for container in run.containers.values():
        if container.state != "running" or container.busy == "start":
            continue
        seen = by_id.get(container.id)
        if seen is None:
            exits.append(Exited(container.id, LOST_EXIT, now))
        elif seen.state == "exited":
            oom = seen.reason == "OOMKilled"
            exits.append(Exited(seen.id, seen.exit_code, seen.finished_at or now, oom))
        elif seen.state == "unknown":
            exits.append(Exited(seen.id, LOST_EXIT, now))
    if run.runtime is not None and run.runtime.ready and run.busy == "":
        alive = [item for item in listing.sandboxes if item.id == run.runtime.id and item.ready]
        if not alive:
            exits.append(Exited(run.runtime.id, LOST_EXIT, now))
    return exits


def without(listing: Listing, uid: str) -> Listing:
    """The listing with one Sandbox taken out."""
    return replace(
        listing,
        sandboxes=tuple(item for item in listing.sandboxes if item.uid != uid),
        containers=tuple(item for item in listing.containers if item.uid != uid),
    )
