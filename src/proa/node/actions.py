"""The actions of ``machine``, carried out over the ports; each changes the books and returns.

Called by ``SandboxWorker`` only, each in a task of its own. Expected failures end in the books
(a reason, a message, a time to try again); anything else is a bug and crashes the task. The
texts are the kubelet's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from proa.base.aio import gather
from proa.base.errors import CallerFault, TryAgain
from proa.model.sandbox import Container, Probe
from proa.node.machine import ECS_PULL_ATTEMPTS, StopContainer
from proa.node.ports import (
    ContainerSpec,
    Exited,
    ImageError,
    ImageInfo,
    MountError,
    NotFound,
    RegistryAway,
    RuntimeSandbox,
    SandboxSpec,
)
from proa.node.state import ContainerRun

if TYPE_CHECKING:
    from proa.node.worker import SandboxWorker

Work = Coroutine[Any, Any, None]
_START_ERROR = 128  # exit code of a container whose command cannot be started
_LOST_EXIT = 137  # of one that the runtime has lost: it was killed
_HOOK_S = 86_400.0  # a post-start hook may take as long as it likes
_MIN_STOP_S = 2.0  # what remains for the signal after a pre-stop hook
_REGISTRY_TRIES, _REGISTRY_RETRY_S = 120, 0.5
_BACKOFF_SHOWN_S = 1.0  # ErrImagePull turns into ImagePullBackOff after this
_ECS_PULL_DELAY_S = 1.0
_RETRY_S = 1.0  # between tries of what must succeed in the end (stop, remove)
_RETRY_MAX_S = 30.0


# Images


async def ensure_image(worker: SandboxWorker, name: str) -> None:
    """Pull, or find present, as the policy says."""
    container = worker.run.containers[name]
    reference, policy = container.spec.image, container.spec.pull
    now = worker.context.clock.now()
    worker.run.pull_started_at = worker.run.pull_started_at or now
    try:
        container.image = await _find_or_pull(worker, container, reference, policy)
    except (TryAgain, CallerFault) as error:
        _pull_failed(worker, container, error)
        return
    container.pulls.clear()
    container.pull_failures = 0
    if container.state == "waiting":
        container.reason = container.message = ""
    if all(item.image is not None for item in worker.run.containers.values()):
        worker.run.pull_stopped_at = worker.context.clock.now()


async def _find_or_pull(
    worker: SandboxWorker, container: ContainerRun, reference: str, policy: str
) -> ImageInfo:
    clock = worker.context.clock
    if policy != "Always":
        found = await worker.context.images.find(reference)
        if found is not None:
            text = f'Container image "{reference}" already present on machine'
            worker.tell("Pulled", text, container=container.name)
            return found
        if policy == "Never":
            raise ImageNeverPull(
                f'Container image "{reference}" is not present with pull policy of Never'
            )
    worker.tell("Pulling", f'Pulling image "{reference}"', container=container.name)
    began = clock.monotonic()
    image = await _pull(worker, reference)
    spent = f"{clock.monotonic() - began:.3g}s"
    worker.tell(
        "Pulled",
        f'Successfully pulled image "{reference}" in {spent} ({spent} including waiting). '
        f"Image size: {image.size} bytes.",
        container=container.name,
    )
    return image


class ImageNeverPull(CallerFault):
    """The image is not there and may not be fetched."""


async def _pull(worker: SandboxWorker, reference: str) -> ImageInfo:
    """While Proa's own registry is away (the control plane starts anew) is no failed pull."""
    for _ in range(_REGISTRY_TRIES):
        try:
            return await worker.context.images.pull(reference)
        except RegistryAway:
            await worker.context.clock.sleep(_REGISTRY_RETRY_S)
    return await worker.context.images.pull(reference)


def _pull_failed(worker: SandboxWorker, container: ContainerRun, error: Exception) -> None:
    container.pull_failures += 1
    container.pulls.next(worker.context.clock.monotonic())
    text, reference = str(error), container.spec.image
    if worker.run.sandbox.skin == "ecs":
        _ecs_pull_failed(worker, container, error)
        return
    if isinstance(error, ImageNeverPull):
        container.reason, container.message = "ErrImageNeverPull", text
        worker.tell("ErrImageNeverPull", text, "Warning", container.name)
        worker.tell("Failed", "Error: ErrImageNeverPull", "Warning", container.name)
        return
    reason = "InvalidImageName" if isinstance(error, ImageError) else "ErrImagePull"
    container.reason, container.message = reason, text
    worker.tell("Failed", f'Failed to pull image "{reference}": {text}', "Warning", container.name)
    worker.tell("Failed", f"Error: {reason}", "Warning", container.name)
    if reason == "ErrImagePull":
        worker.background(_show_back_off(worker, container, text), f"back-off {container.name}")


def _ecs_pull_failed(worker: SandboxWorker, container: ContainerRun, error: Exception) -> None:
    """The ECS agent tries a few times and then gives the task up."""
    passing = isinstance(error, TryAgain) and "not found" not in str(error)
    if passing and container.pull_failures < ECS_PULL_ATTEMPTS:
        container.pulls.until = worker.context.clock.monotonic() + _ECS_PULL_DELAY_S
        return
    container.reason, container.message, container.fatal = "ErrImagePull", str(error), True


async def _show_back_off(worker: SandboxWorker, container: ContainerRun, text: str) -> None:
    await worker.context.clock.sleep(_BACKOFF_SHOWN_S)
    if container.reason != "ErrImagePull" or container.busy:
        return
    message = f'Back-off pulling image "{container.spec.image}"'
    container.reason, container.message = "ImagePullBackOff", f"{message}: ErrImagePull: {text}"
    worker.tell("BackOff", message, kind="Normal", container=container.name)
    worker.tell("Failed", "Error: ImagePullBackOff", "Warning", container.name)
    worker.poke()


# The sandbox


async def run_sandbox(worker: SandboxWorker, attempt: int) -> None:
    """Volumes, namespace, address and CRI sandbox."""
    run, context = worker.run, worker.context
    try:
        if run.runs.delay_s:  # the try before has failed, maybe for its volumes
            await _make_volumes(worker)
        run.runtime = await _run_beside_volumes(worker, _sandbox_spec(worker, attempt))
    except (TryAgain, CallerFault) as error:
        run.runs.next(context.clock.monotonic())
        mount = isinstance(error, MountError)
        reason = "FailedMount" if mount else "FailedCreatePodSandBox"
        text = str(error) if mount else f"Failed to create pod sandbox: {error}"
        worker.tell(reason, text, "Warning")
        if run.sandbox.skin == "ecs":
            for container in run.containers.values():
                container.reason, container.message = reason, text
                container.fatal = mount
        return
    run.attempt = attempt
    run.runs.clear()
    run.ready_at = run.ready_at or context.clock.now()


async def _run_beside_volumes(worker: SandboxWorker, spec: SandboxSpec) -> RuntimeSandbox:
    """The volumes are made while the runtime makes the sandbox, which goes again without them."""
    runtime = worker.context.runtime
    made: list[RuntimeSandbox] = []

    async def run() -> None:
        made.append(await runtime.run_sandbox(spec))

    try:
        await gather([run(), _make_volumes(worker)])
    except (TryAgain, CallerFault):
        for sandbox in made:
            await _insist(worker, partial(runtime.stop_sandbox, sandbox.id))
            await _insist(worker, partial(runtime.remove_sandbox, sandbox.id))
        raise
    return made[0]


async def _make_volumes(worker: SandboxWorker) -> None:
    """Also when they have changed since, or were made in an earlier life: mounts may be lost."""
    run = worker.run
    sandbox = run.sandbox
    if run.made != sandbox.volumes:
        await worker.context.volumes.prepare(sandbox)
        run.made = sandbox.volumes


def _sandbox_spec(worker: SandboxWorker, attempt: int) -> SandboxSpec:
    sandbox = worker.run.sandbox
    namespace = ""
    if sandbox.network.mode == "host":
        namespace = worker.context.network.instance_namespace(sandbox.instance)
    return SandboxSpec(sandbox, attempt, str(worker.context.log_dir(sandbox.uid)), namespace)


async def stop_sandbox(worker: SandboxWorker) -> None:
    """At the end: release the network. In the middle (its pause process has died): also begin
    anew, init containers included."""
    run = worker.run
    assert run.runtime is not None
    id = run.runtime.id
    lost = run.stop is None
    if lost:
        text = "Pod sandbox changed, it will be killed and re-created."
        worker.tell("SandboxChanged", text)
    await _insist(worker, lambda: worker.context.runtime.stop_sandbox(id))
    await _release_networks(worker)
    if not lost:
        run.runtime = replace(run.runtime, ready=False)
        return
    await _settle(worker)
    await _insist(worker, lambda: worker.context.runtime.remove_sandbox(id))
    run.runtime, run.attempt, run.initialized = None, run.attempt + 1, False
    run.made = None
    for container in run.containers.values():
        if container.state == "exited" and (container.spec.init or container.restarts()):
            container.renew()
        if container.state == "waiting":
            container.id = container.previous_id = ""  # removed with its sandbox
            container.starts.clear()  # it was not its fault


async def _settle(worker: SandboxWorker) -> None:
    """What stood as running in a sandbox that is gone has ended, whether or not it was told."""
    for container in worker.run.containers.values():
        if container.state == "running":
            await _read_exit(worker, container)


async def remove_sandbox(worker: SandboxWorker) -> None:
    """Leave nothing but the log files, which ``Agent`` removes once they are shipped."""
    run, context = worker.run, worker.context
    if run.runtime is not None:
        id = run.runtime.id
        await _insist(worker, lambda: context.runtime.stop_sandbox(id))
        await _insist(worker, lambda: context.runtime.remove_sandbox(id))
    await _release_networks(worker)
    await _insist(worker, lambda: context.volumes.remove(run.uid))
    run.gone = True
    context.changed(run)


async def _release_networks(worker: SandboxWorker) -> None:
    """Those of single containers; the Sandbox's own goes with the CRI sandbox."""
    run, network = worker.run, worker.context.network
    if any(spec.network is not None for spec in run.sandbox.containers):
        await _insist(worker, lambda: network.detach(run.uid))


async def _insist(worker: SandboxWorker, work: Any) -> None:
    """Repeat until it succeeds: what must be released is never given up."""
    delay_s = _RETRY_S
    while True:
        try:
            await work()
            return
        except NotFound:
            return
        except (TryAgain, CallerFault) as error:
            if delay_s > _RETRY_S:  # once is no news: it may be ending at this moment
                worker.tell("FailedKillPod", f"error killing pod: {error}", "Warning")
            await worker.context.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_MAX_S)


async def update_volumes(worker: SandboxWorker) -> None:
    """Config maps, secrets or tokens have new content."""
    sandbox = worker.run.sandbox
    try:
        await worker.context.volumes.update(sandbox)
        worker.run.made = sandbox.volumes
    except CallerFault as error:
        worker.tell("FailedMount", str(error), "Warning")


# Containers


async def start_container(worker: SandboxWorker, name: str, renew: bool) -> None:
    """Create and start an attempt, then run its post-start hook."""
    run, context = worker.run, worker.context
    container = run.containers[name]
    if renew:
        if container.previous_id:
            stale = container.previous_id
            worker.background(_remove_container(worker, stale), f"remove {stale}")
        container.renew()
    if container.id:  # created in an earlier try or life, and never started
        stale, container.id = container.id, ""
        await _remove_container(worker, stale)
    spec, image, sandbox = container.spec, container.image, run.runtime
    assert image is not None and sandbox is not None, "decide starts only what is prepared"
    if spec.run_as_non_root and _is_root(spec.user or image.user):
        _not_created(
            worker, container, "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
        )  # fmt: skip
        return
    spec = _adapted(worker, container)
    try:
        await _make_volumes(worker)
        namespace = ""
        if spec.network is not None:
            namespace = await context.network.isolate(run.uid, name, spec.network)
        whole = ContainerSpec(
            _sandbox_spec(worker, run.attempt),
            spec,
            container.attempt,
            image,
            context.volumes.binds(run.sandbox, spec, container.attempt, sandbox.address),
            f"{name}/{container.attempt}.log",
            namespace,
        )
        container.id = await context.runtime.create_container(sandbox, whole)
    except (TryAgain, CallerFault) as error:
        _not_created(worker, container, "CreateContainerError", str(error))
        return
    container.created_at = context.clock.now()
    worker.tell("Created", f"Created container: {name}", container=name)
    await _start_created(worker, container)


def _adapted(worker: SandboxWorker, container: ContainerRun) -> Container:
    """The container as this machine can run it; what is left out is told once."""
    spec, notes = worker.context.runtime.adapt(container.spec)
    for note in notes if container.attempt == 0 else ():
        worker.tell("Unsupported", note, "Warning", container.name)
    return spec


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in ("", "0", "root")


def _not_created(worker: SandboxWorker, container: ContainerRun, reason: str, text: str) -> None:
    container.reason, container.message = reason, text
    container.starts.next(worker.context.clock.monotonic())
    container.fatal = worker.run.sandbox.skin == "ecs"
    worker.tell("Failed", f"Error: {text}", "Warning", container.name)


async def _start_created(worker: SandboxWorker, container: ContainerRun) -> None:
    context = worker.context
    try:
        container.pid = await context.runtime.start_container(container.id)
    except (TryAgain, CallerFault) as error:
        now = context.clock.now()
        container.started_at = now
        container.state = "running"
        worker.end(container, Exited(container.id, _START_ERROR, now), str(error))
        container.reason = "StartError"
        worker.tell("Failed", f"Error: {error}", "Warning", container.name)
        return
    container.started_at = context.clock.now()
    container.state, container.reason, container.message = "running", "", ""
    container.hooked = container.spec.post_start is None
    worker.tell("Started", f"Started container {container.name}", container=container.name)
    early = worker.early_exit(container.id)
    if early is not None:
        worker.end(container, early)
        return
    if container.spec.post_start is not None:
        title = f"post-start {container.name}"
        worker.background(_post_start(worker, container, container.spec.post_start), title)
    worker.watch_health(container, adopted=False)


async def _post_start(worker: SandboxWorker, container: ContainerRun, hook: Probe) -> None:
    problem = await _run_hook(worker, container, hook, _HOOK_S)
    if container.state != "running":
        return
    if problem:
        worker.tell("FailedPostStartHook", f"PostStartHook failed: {problem}", "Warning",
                    container.name)  # fmt: skip
        container.kill = "FailedPostStartHook"
    else:
        container.hooked = True
    worker.poke()


async def _run_hook(
    worker: SandboxWorker, container: ContainerRun, hook: Probe, limit_s: float
) -> str:
    """Empty, or why it failed. A hook has no timeout of its own."""
    patient = msgspec.structs.replace(hook, timeout_s=limit_s)
    try:
        return await worker.context.prober.check(patient, worker.target(container))
    except (TryAgain, CallerFault) as error:
        return str(error)


async def _remove_container(worker: SandboxWorker, id: str) -> None:
    await _insist(worker, lambda: worker.context.runtime.remove_container(id))


async def stop_container(worker: SandboxWorker, action: StopContainer) -> None:
    """Pre-stop hook within the grace, signal, kill; books the exit if nobody has."""
    context = worker.context
    container = worker.run.containers[action.container]
    text = container.kill or f"Stopping container {container.name}"
    worker.tell("Killing", text, container=container.name)
    grace_s, began = action.grace_s, context.clock.monotonic()
    hook = container.spec.pre_stop
    if hook is not None and grace_s > 0:
        await _pre_stop(worker, container, hook, grace_s)
        grace_s = max(_MIN_STOP_S, grace_s - (context.clock.monotonic() - began))
    id, signal = container.id, container.spec.stop_signal
    await _insist(worker, lambda: context.runtime.stop_container(id, grace_s, signal))
    if container.state == "running" and container.id == id:
        await _read_exit(worker, container)


async def _pre_stop(
    worker: SandboxWorker, container: ContainerRun, hook: Probe, grace_s: float
) -> None:
    try:
        async with asyncio.timeout(grace_s):
            problem = await _run_hook(worker, container, hook, grace_s)
    except TimeoutError:
        problem = f"did not end within {grace_s:g}s"
    if problem:
        text = f"PreStopHook failed: {problem}"
        worker.tell("FailedPreStopHook", text, "Warning", container.name)


async def _read_exit(worker: SandboxWorker, container: ContainerRun) -> None:
    """Ask the runtime how a container ended; one that it does not know was killed."""
    context = worker.context
    try:
        seen = await context.runtime.container(container.id)
        if seen.state == "running":
            return
        code = seen.exit_code if seen.state == "exited" else _LOST_EXIT
        at = seen.finished_at or context.clock.now()
        event = Exited(container.id, code, at, seen.reason == "OOMKilled")
    except (NotFound, TryAgain):
        event = Exited(container.id, _LOST_EXIT, context.clock.now())
    worker.end(container, event)
