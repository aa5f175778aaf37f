"""``ContainerdRuntime``: the Runtime port over CRI v1 and containerd's native services.

One gRPC channel on one unix socket; containerd may go away and come back under it. CRI makes
sandboxes and containers; the native services give exits, process ids, signals, exec with
plain FIFOs, and patches of the OCI spec between create and start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from proa.base.aio import gather
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.feed import Instances
from proa.model.resources import Resources
from proa.model.sandbox import Container
from proa.node.cni.server import CniServer
from proa.node.containerd import cgroups, mirror
from proa.node.containerd.abilities import Abilities
from proa.node.containerd.attach import Attachment
from proa.node.containerd.config import Layout
from proa.node.containerd.native import CALL_S, Native, call, translate
from proa.node.containerd.oci import Patch, patch_of
from proa.node.containerd.seccomp import RuntimeProfiles
from proa.node.containerd.spec import (
    CONTAINER_LABEL,
    CPU_LABEL,
    MODE_LABEL,
    OWNER_LABEL,
    UID_LABEL,
    cgroup_parent,
    container_config,
    cpu_of,
    labels,
    sandbox_config,
)
from proa.node.init.build import build_init
from proa.node.ports import (
    AttachRequest,
    ContainerSpec,
    ExecRequest,
    ExecResult,
    ExecSession,
    Exited,
    ImageError,
    ImageInfo,
    Listing,
    NetworkPort,
    NotFound,
    RegistryAway,
    RuntimeContainer,
    RuntimeSandbox,
    SandboxSpec,
    TimedOut,
    Usage,
)
from proa.pb import cri_pb2 as cri
from proa.pb import cri_pb2_grpc as cri_grpc

log = get_logger(__name__)
_STATES = {
    cri.CONTAINER_CREATED: "created",
    cri.CONTAINER_RUNNING: "running",
    cri.CONTAINER_EXITED: "exited",
}
_SIGNALS = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGQUIT": 3,
    "SIGKILL": 9,
    "SIGUSR1": 10,
    "SIGUSR2": 12,
    "SIGTERM": 15,
    "SIGWINCH": 28,
}
_KILLED = 137
_PULL_S = 1800.0
_SETTLE_TRIES, _SETTLE_S = 50, 0.02  # CRI's books follow an exit by moments
_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


def _seconds(nanoseconds: int) -> float:
    return max(nanoseconds, 0) / 1e9


def _image_info(image: Any) -> ImageInfo:
    user = image.username or (str(image.uid.value) if image.HasField("uid") else "")
    digest = image.repo_digests[0] if image.repo_digests else image.id
    return ImageInfo(id=image.id, digest=digest, user=user, size=image.size)


class ContainerdRuntime:
    """Containers of one Host by its own containerd. Calls of its CNI plugin end at
    ``network``."""

    def __init__(
        self,
        layout: Layout,
        network: NetworkPort,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._layout = layout
        self._cgroup = layout.cgroup
        self._clock = clock
        self._chance = chance.child("exec")
        self._cni = CniServer(network)
        self._instances: dict[str, Resources] = {}  # dedicated ones that have a cgroup
        self._profiles = RuntimeProfiles(layout.seccomp_dir / ".runtime")
        self._abilities = Abilities.of_this_machine()
        self._parents: dict[str, str] = {}  # container → the cgroup of its Sandbox
        self._cpu: dict[str, tuple[int, int]] = {}  # → CPU limit and shares, still to be set
        self._kills: dict[str, int] = {}  # that cgroup → kills for memory seen so far

    async def start(self) -> None:
        """Open the channel and listen for the CNI plugin; containerd may still be away."""
        shutil.rmtree(self._layout.fifo_dir, ignore_errors=True)  # of sessions of a killed agent
        await self._cni.start(self._layout.cni_socket)
        address = f"unix:{self._layout.socket}"
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL)
        self._runtime = cri_grpc.RuntimeServiceStub(self._channel)
        self._images = cri_grpc.ImageServiceStub(self._channel)
        self._native = Native(self._channel, self._clock, self._layout.fifo_dir)

    async def close(self) -> None:
        """Leave everything running."""
        await self._native.close()
        await self._cni.close()
        await self._channel.close()

    def adapt(self, container: Container) -> tuple[Container, tuple[str, ...]]:
        return self._abilities.adapt(container)

    async def version(self) -> str:
        answer = await call(
            self._runtime.Version(cri.VersionRequest(), timeout=CALL_S), passing=True
        )
        return f"{answer.runtime_name}://{answer.runtime_version}"

    async def ensure(self, instances: Instances) -> None:
        wanted = {item.id: item.capacity for item in instances.instances if not item.shared}
        for id, capacity in wanted.items():
            if self._instances.get(id) == capacity:
                continue
            try:
                cgroups.make_instance(f"{self._cgroup}/{id}", capacity)
            except OSError as error:
                raise TryAgain(f"cgroup of an instance: {error}") from error
            self._instances[id] = capacity
        for id in [id for id in self._instances if id not in wanted]:
            cgroups.sweep(f"{self._cgroup}/{id}")
            del self._instances[id]

    # Images

    async def image(self, reference: str) -> ImageInfo | None:
        image = await self._image(reference)
        return _image_info(image) if image.id else None

    async def _image(self, reference: str) -> Any:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
        return (await call(self._images.ImageStatus(request, timeout=CALL_S), passing=True)).image

    async def _unchanged(self, reference: str) -> ImageInfo | None:
        """The image that is here, if our own registry still has the same."""
        image = await self._image(reference)
        if not image.id:
            return None
        wanted = await mirror.digest(self._layout.mirror, reference)
        same = wanted and any(item.endswith(f"@{wanted}") for item in image.repo_digests)
        return _image_info(image) if same else None

    async def pull(self, reference: str) -> ImageInfo:
        present = await self._unchanged(reference)
        if present is not None:
            return present
        request = cri.PullImageRequest(image=cri.ImageSpec(image=reference))
        try:
            answer = await self._images.PullImage(request, timeout=_PULL_S)
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            if "invalid reference format" in text:
                raise ImageError(text) from error
            if "connection refused" in text and self._layout.mirror in text:
                raise RegistryAway(text) from error
            raise TryAgain(text) from error
        found = await self.image(answer.image_ref)
        if found is None:
            raise TryAgain(f"{reference} vanished after it was pulled")
        return found

    # Sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> RuntimeSandbox:
        sandbox = spec.sandbox
        self._cni.expect(sandbox.uid, sandbox.network)
        try:
            parent = cgroup_parent(self._cgroup, sandbox)
            cgroups.make(parent, sandbox.memory_limit, 0)
            self._cpu[parent] = cpu_of(labels(sandbox)[CPU_LABEL])
        except OSError as error:
            raise TryAgain(f"cgroup of the sandbox: {error}") from error
        request = cri.RunPodSandboxRequest(config=sandbox_config(spec, self._cgroup))
        answer = await call(self._runtime.RunPodSandbox(request, timeout=CALL_S), passing=True)
        id = str(answer.pod_sandbox_id)
        place = self._cni.place(sandbox.uid, id)
        if place is None:  # on the Host's network
            return await self._sandbox(id)
        now = self._clock.now()
        return RuntimeSandbox(
            id, sandbox.uid, spec.attempt, True, place.address, place.netns, created_at=now
        )

    async def _sandbox(self, id: str) -> RuntimeSandbox:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=True)
        answer = await call(self._runtime.PodSandboxStatus(request, timeout=CALL_S))
        status = answer.status
        info = json.loads(answer.info.get("info", "{}"))
        namespaces = (info.get("runtimeSpec") or {}).get("linux", {}).get("namespaces", [])
        paths = [item.get("path", "") for item in namespaces if item.get("type") == "network"]
        return RuntimeSandbox(
            id=status.id,
            uid=status.metadata.uid,
            attempt=status.metadata.attempt,
            ready=status.state == cri.SANDBOX_READY,
            address=status.network.ip if status.labels.get(MODE_LABEL) == "vpc" else "",
            netns=paths[0] if paths else "",
            created_at=_seconds(status.created_at),
        )

    async def stop_sandbox(self, id: str) -> None:
        with contextlib.suppress(NotFound):
            request = cri.StopPodSandboxRequest(pod_sandbox_id=id)
            await call(self._runtime.StopPodSandbox(request, timeout=CALL_S), passing=True)

    async def remove_sandbox(self, id: str) -> None:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=id)
        try:
            answer = await call(self._runtime.PodSandboxStatus(request, timeout=CALL_S))
        except NotFound:
            return
        remove = cri.RemovePodSandboxRequest(pod_sandbox_id=id)
        try:
            await call(self._runtime.RemovePodSandbox(remove, timeout=CALL_S), passing=True)
        except NotFound as error:  # of one of its containers: somebody else removes it, too
            raise TryAgain(str(error)) from error
        uid, owner = answer.status.metadata.uid, answer.status.labels.get(OWNER_LABEL, "local")
        parent = f"{self._cgroup}/{owner}/{uid}"
        self._kills.pop(parent, None)
        self._cpu.pop(parent, None)
        self._parents = {key: item for key, item in self._parents.items() if item != parent}
        cgroups.remove(parent)
        self._cni.release(uid, id)

    # Containers

    async def create_container(self, sandbox: RuntimeSandbox, spec: ContainerSpec) -> str:
        whole = spec.sandbox
        (Path(whole.log_dir) / spec.log_path).parent.mkdir(parents=True, exist_ok=True)
        profile = self._profiles.path(spec.container)
        config = container_config(whole.sandbox, spec, self._layout.seccomp_dir, profile)
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.id,
            config=config,
            sandbox_config=sandbox_config(whole, self._cgroup),
        )
        init = ""
        if spec.container.init_process:
            init = str(await asyncio.to_thread(build_init, self._layout.init_dir))
        answer = await call(self._runtime.CreateContainer(request, timeout=CALL_S))
        id = str(answer.container_id)
        self._parents[id] = cgroup_parent(self._cgroup, whole.sandbox)
        if self._profiles.wanted(spec.container):
            await self._learn_profile(id, spec.container)
        patch = patch_of(spec, init)
        if patch != Patch():
            try:
                await self._native.patch(id, patch)
            except (TryAgain, CallerFault):
                await self.remove_container(id)
                raise
        return id

    async def _learn_profile(self, id: str, container: Container) -> None:
        try:
            self._profiles.learn(container, await self._native.spec(id))
        except (TryAgain, CallerFault, OSError) as error:
            log.warning("the runtime's seccomp profile is not known", error=str(error))

    async def start_container(self, id: str) -> int:
        request = cri.StartContainerRequest(container_id=id)
        await call(self._runtime.StartContainer(request, timeout=CALL_S))
        self._limit_cpu(self._parents.get(id, ""))
        return self._pid_of(id)

    def _pid_of(self, id: str) -> int:
        """As its shim has noted it: to ask for it takes a turn through two daemons."""
        try:
            return int((self._layout.task_dir / id / "init.pid").read_text())
        except (FileNotFoundError, ValueError):  # it has ended already: its exit is on its way
            return 0

    def _limit_cpu(self, parent: str) -> None:
        """A Sandbox begins without its limit and with a whole processor's weight: what runc does
        to make a container would count against it, and take several times as long for a small
        task."""
        quota, shares = self._cpu.get(parent, (0, 0))
        if not shares:
            return
        try:
            cgroups.weigh(parent, shares)
            cgroups.make(parent, 0, quota)
            self._cpu.pop(parent, None)
        except OSError as error:  # the next start, or the next agent, tries again
            log.error("cannot limit the CPU of a sandbox", parent=parent, error=str(error))

    async def stop_container(self, id: str, grace_s: float, signal: str = "") -> None:
        number = _SIGNALS.get(signal if signal.startswith("SIG") else f"SIG{signal}", 0)
        if signal.isdigit():
            number = int(signal)
        with contextlib.suppress(NotFound):
            if number and grace_s > 0:
                await self._native.signal_and_wait(id, number, grace_s)
                grace_s = 0
            # containerd counts whole seconds; 0 kills at once
            whole_s = int(-(-grace_s // 1))
            request = cri.StopContainerRequest(container_id=id, timeout=whole_s)
            await call(self._runtime.StopContainer(request, timeout=CALL_S + whole_s), passing=True)

    async def remove_container(self, id: str) -> None:
        self._parents.pop(id, None)
        with contextlib.suppress(NotFound):
            request = cri.RemoveContainerRequest(container_id=id)
            await call(self._runtime.RemoveContainer(request, timeout=CALL_S), passing=True)

    async def container(self, id: str) -> RuntimeContainer:
        for _ in range(_SETTLE_TRIES):
            seen = await self._status(id)
            if seen.state != "running":
                return seen
            try:
                task = await self._native.task(id)
            except NotFound:  # CRI is cleaning up behind an exit: its word comes soon
                await self._clock.sleep(_SETTLE_S)
                continue
            if not task.stopped:
                return replace(seen, pid=task.pid)
            oom = self._native.was_oom(id) and task.exit_code != 0
            return replace(
                seen,
                state="exited",
                exit_code=task.exit_code,
                finished_at=task.exited_at,
                reason="OOMKilled" if oom else "Completed" if task.exit_code == 0 else "Error",
            )
        return replace(seen, state="unknown")

    async def _status(self, id: str) -> RuntimeContainer:
        """A container by CRI's books."""
        request = cri.ContainerStatusRequest(container_id=id)
        answer = await call(self._runtime.ContainerStatus(request, timeout=CALL_S))
        status = answer.status
        oom = self._native.was_oom(id) and status.exit_code != 0
        return RuntimeContainer(
            id=status.id,
            sandbox_id="",
            uid=status.labels.get(UID_LABEL, ""),
            name=status.metadata.name,
            attempt=status.metadata.attempt,
            state=_STATES.get(status.state, "unknown"),
            image=status.image.image,
            image_digest=status.image_ref,
            created_at=_seconds(status.created_at),
            started_at=_seconds(status.started_at),
            finished_at=_seconds(status.finished_at),
            exit_code=status.exit_code,
            reason="OOMKilled" if oom else status.reason,
            message=status.message,
        )

    async def events(self) -> AsyncIterator[Exited | None]:
        async with contextlib.aclosing(self._native.events()) as events:
            async for event in events:
                yield event if event is None else self._judged(event)

    def _judged(self, event: Exited) -> Exited:
        """On cgroup v2 the word of a kill for memory may come after the exit's, or never; the
        count of the Sandbox's cgroup is there before."""
        parent = self._parents.get(event.id)
        if parent is None or event.oom or event.exit_code != _KILLED:
            return event
        count = cgroups.oom_kills(parent)
        if count <= self._kills.get(parent, 0):
            return event
        self._kills[parent] = count
        self._native.note_oom(event.id)
        return replace(event, oom=True)

    async def list(self) -> Listing:
        pods, boxes = await gather(
            [
                call(
                    self._runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=CALL_S),
                    passing=True,
                ),
                call(
                    self._runtime.ListContainers(cri.ListContainersRequest(), timeout=CALL_S),
                    passing=True,
                ),
            ]
        )
        ours = [pod.id for pod in pods.items if OWNER_LABEL in pod.labels]
        sandboxes = await gather([self._listed_sandbox(id) for id in ours])
        found = [item for item in boxes.containers if item.labels.get(CONTAINER_LABEL)]
        containers = await gather([self._listed_container(item) for item in found])
        self._recall(pods.items, found)
        listing = Listing(
            tuple(item for item in sandboxes if item is not None),
            tuple(item for item in containers if item is not None),
        )
        for sandbox in listing.sandboxes:
            if sandbox.ready:
                self._cni.adopt(sandbox.uid, sandbox.id)
        return listing

    def _recall(self, pods: Sequence[Any], boxes: Sequence[Any]) -> None:
        """Limits that an earlier agent did not come to set, and what was killed before now, which
        is no news."""
        by_pod = {pod.id: pod.labels for pod in pods}
        for box in boxes:
            of_pod = by_pod.get(box.pod_sandbox_id, {})
            owner = of_pod.get(OWNER_LABEL, "local")
            parent = f"{self._cgroup}/{owner}/{box.labels.get(UID_LABEL, '')}"
            self._parents[box.id] = parent
            self._kills[parent] = cgroups.oom_kills(parent)
            if box.state == cri.CONTAINER_RUNNING:
                self._cpu[parent] = cpu_of(of_pod.get(CPU_LABEL, ""))
                self._limit_cpu(parent)

    async def _listed_sandbox(self, id: str) -> RuntimeSandbox | None:
        try:
            sandbox = await self._sandbox(id)
        except NotFound:
            return None
        try:
            stopped = (await self._native.task(id)).stopped
        except NotFound:
            stopped = True
        return replace(sandbox, ready=sandbox.ready and not stopped)

    async def _listed_container(self, item: Any) -> RuntimeContainer | None:
        try:
            status = await self.container(item.id)
        except NotFound:
            return None
        return replace(status, sandbox_id=item.pod_sandbox_id)

    # Exec, logs, statistics

    async def exec_sync(self, id: str, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        whole_s = max(1, int(-(-timeout_s // 1)))
        request = cri.ExecSyncRequest(container_id=id, cmd=command, timeout=whole_s)
        try:
            answer = await self._runtime.ExecSync(request, timeout=whole_s + CALL_S)
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or "deadline exceeded" in text:
                words = " ".join(command)
                raise TimedOut(f'command "{words}" timed out') from error
            raise translate(error, passing=False) from error
        return ExecResult(answer.exit_code, answer.stdout, answer.stderr)

    async def exec(self, id: str, request: ExecRequest) -> ExecSession:
        return await self._native.exec(id, request, f"exec-{self._chance.hex(16)}")

    async def attach(self, id: str, request: AttachRequest) -> ExecSession:
        asked = cri.AttachRequest(
            container_id=id,
            stdin=request.stdin,
            tty=request.tty,
            stdout=True,
            stderr=not request.tty,
        )
        answer = await call(self._runtime.Attach(asked, timeout=CALL_S))
        return await Attachment.dial(answer.url, request)

    async def reopen_log(self, id: str) -> None:
        request = cri.ReopenContainerLogRequest(container_id=id)
        await call(self._runtime.ReopenContainerLog(request, timeout=CALL_S))

    async def usage(self) -> tuple[Usage, ...]:
        request = cri.ListContainerStatsRequest()
        answer = await call(self._runtime.ListContainerStats(request, timeout=CALL_S), passing=True)
        return tuple(
            Usage(
                id=item.attributes.id,
                uid=item.attributes.labels.get(UID_LABEL, ""),
                name=item.attributes.metadata.name,
                at=_seconds(item.cpu.timestamp),
                cpu_ns=item.cpu.usage_core_nano_seconds.value,
                memory=item.memory.working_set_bytes.value,
            )
            for item in answer.stats
        )
