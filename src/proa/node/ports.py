"""What the agent needs from the world, as Protocols.

``Agent`` and ``SandboxWorker`` call these; ``node.containerd``, ``node.linux`` and ``node.sim``
implement them. Errors that cross them are ``TryAgain`` (a passing fault), ``CallerFault`` (the
spec cannot be carried out; its text is shown to the user) and ``NotFound``. Every call may be
repeated: stopping what is stopped and removing what is gone succeed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proa.base.errors import CallerFault, TryAgain
from proa.model.feed import Down, Instances, LogBatch, Report, Rules, Zones
from proa.model.sandbox import Assignment, Container, Network, Probe, Sandbox


class NotFound(CallerFault):
    """The container, sandbox or image does not exist (any more)."""


class RegistryAway(TryAgain):
    """Proa's own registry, which is asked first for every image, does not listen now."""


class TimedOut(TryAgain):
    """A command did not end in its time."""


class NotRunning(CallerFault):
    """The container exists and does not run, so there is nothing to talk to."""


class ImageError(CallerFault):
    """An image reference that can never be pulled (InvalidImageName)."""


class MountError(CallerFault):
    """A volume that cannot be made (FailedMount)."""


class ControlLink(Protocol):
    """The agent's way to the control plane."""

    def feed(self) -> AsyncIterator[Down]:
        """One connection: the present state, ``Synced``, then changes as they come. It ends or
        raises TryAgain when the connection is lost; the agent calls again with a back-off."""
        ...

    async def report(self, report: Report) -> None:
        """Deliver news; returns when stored, raises TryAgain to be called again."""
        ...

    async def ship(self, batch: LogBatch) -> None:
        """Deliver log lines; as ``report``."""
        ...


class NetworkPort(Protocol):
    """Interfaces, addresses and rules of one Host. Its state must survive the agent: after a
    restart ``keep`` names what is alive, and the rest is torn down."""

    async def ensure(self, instances: Instances) -> None:
        """Bring VPC routers and Instances' namespaces to this state; repeated on every change."""
        ...

    async def attach(self, netns_path: str, network: Network, uid: str) -> str:
        """Give the namespace at ``netns_path`` (loopback is already up) its ``eth0`` with
        ``network.address`` and default route; returns the address without prefix length.
        Called for ``vpc`` mode only, on the path to running: it must be quick."""
        ...

    async def isolate(self, uid: str, container: str, network: Network) -> str:
        """A namespace of its own for one container of a Sandbox: loopback is up and, in ``vpc``
        mode, so is ``eth0``, as by ``attach``. Returns its path; repeated, the same one."""
        ...

    def container_namespace(self, uid: str, container: str) -> str:
        """Where ``isolate`` puts it, whether or not it has been called."""
        ...

    async def detach(self, uid: str) -> None:
        """Release the interface of a Sandbox and the namespaces of its containers; an unknown
        uid is no error."""
        ...

    async def keep(self, uids: Collection[str]) -> None:
        """These Sandboxes are alive; everything attached for others is released."""
        ...

    def instance_namespace(self, instance: str) -> str:
        """Path of the network namespace that "host network" means for this Instance; empty:
        the machine's own."""
        ...

    async def apply_rules(self, rules: Rules) -> None:
        """Make the VIP table be this; incremental inside, atomic outside."""
        ...

    async def apply_zones(self, zones: Zones) -> None:
        """Hand the names to whoever answers DNS on this Host."""
        ...

    async def close(self) -> None:
        """Stop working; interfaces and rules stay."""
        ...


@dataclass(slots=True, frozen=True)
class Bind:
    """A host path seen inside a container or, where ``tmpfs`` has mount options, a fresh tmpfs of
    the container's own. ``propagation`` as ``Mount``'s."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = ""
    tmpfs: tuple[str, ...] = ()


class Volumes(Protocol):
    """Directories and files that the agent provides to containers."""

    async def prepare(self, sandbox: Sandbox) -> None:
        """Make every volume; raises MountError where one cannot be."""
        ...

    async def update(self, sandbox: Sandbox) -> None:
        """Bring ``files`` volumes to new content; each volume changes in one step."""
        ...

    def binds(
        self, sandbox: Sandbox, container: Container, attempt: int, address: str
    ) -> tuple[Bind, ...]:
        """The container's mounts, /etc/hosts and the termination log included. Raises
        CallerFault for a mount of an unknown volume or a sub path that escapes it."""
        ...

    def termination_message(self, uid: str, container: str, attempt: int) -> str:
        """What the container wrote to its termination log, at most 4096 bytes."""
        ...

    async def remove(self, uid: str) -> None:
        """Unmount and delete everything of a Sandbox."""
        ...


class Logs(Protocol):
    """What becomes of the lines that containers write."""

    def follow(self, sandbox: Sandbox) -> None:
        """Ship the lines of its containers that have a sink."""
        ...

    async def finish(self, uid: str) -> None:
        """Returns when the last line of a Sandbox that is gone has been delivered."""
        ...

    async def remove(self, uid: str) -> None:
        """Delete its log files."""
        ...

    async def close(self) -> None: ...


class Checkpoint(Protocol):
    """The assignments that the agent has accepted and the networks it was last told of, kept
    over its restarts."""

    def load(self) -> tuple[Assignment, ...]: ...

    async def save(self, assignment: Assignment) -> None:
        """Durable when it returns."""
        ...

    async def forget(self, uid: str) -> None: ...

    def instances(self) -> Instances | None: ...

    async def save_instances(self, instances: Instances) -> None:
        """Durable when it returns."""
        ...


@dataclass(slots=True, frozen=True)
class ImageInfo:
    """A pulled image: ``id`` is its configuration's digest, ``digest`` repo@sha256:…"""

    id: str
    digest: str = ""
    user: str = ""  # as the image says: "", "uid" or a name
    size: int = 0


@dataclass(slots=True, frozen=True)
class SandboxSpec:
    """A Sandbox on its way to the runtime."""

    sandbox: Sandbox
    attempt: int
    log_dir: str
    host_namespace: str = ""  # NetworkPort.instance_namespace, for host mode


@dataclass(slots=True, frozen=True)
class ContainerSpec:
    """A container on its way to the runtime; ``log_path`` is relative to the Sandbox's
    ``log_dir``."""

    sandbox: SandboxSpec
    container: Container
    attempt: int
    image: ImageInfo
    binds: tuple[Bind, ...]
    log_path: str
    network_path: str = ""  # NetworkPort.isolate, for a container with a network of its own


@dataclass(slots=True, frozen=True)
class RuntimeContainer:
    """A container as the runtime sees it; ``state`` is created, running, exited or unknown."""

    id: str
    sandbox_id: str
    uid: str
    name: str
    attempt: int
    state: str
    image: str = ""
    image_digest: str = ""
    pid: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""  # OOMKilled, Completed, Error, StartError …
    message: str = ""


@dataclass(slots=True, frozen=True)
class RuntimeSandbox:
    """A CRI sandbox as the runtime sees it. ``address`` is empty in host mode."""

    id: str
    uid: str
    attempt: int
    ready: bool
    address: str = ""
    netns: str = ""
    created_at: float = 0.0


@dataclass(slots=True, frozen=True)
class Listing:
    """Everything of ours that the runtime holds."""

    sandboxes: tuple[RuntimeSandbox, ...] = ()
    containers: tuple[RuntimeContainer, ...] = ()


@dataclass(slots=True, frozen=True)
class Exited:
    """A container's (or, where ``id`` names a sandbox, the sandbox's) main process ended. Told a
    second time, with ``oom``, where the word of a kill for memory comes after the exit's."""

    id: str
    exit_code: int
    at: float
    oom: bool = False


@dataclass(slots=True, frozen=True)
class ExecResult:
    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(slots=True, frozen=True)
class Usage:
    """What a container uses: ``cpu_ns`` cumulative CPU time, ``memory`` working set in bytes."""

    id: str
    uid: str
    name: str
    at: float
    cpu_ns: int
    memory: int


class ExecSession(Protocol):
    """A process beside a container's own, with its streams."""

    async def write(self, data: bytes) -> None:
        """To its standard input; raises NotFound when the process is gone."""
        ...

    async def close_stdin(self) -> None: ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1 | 2, bytes) until both streams have ended; with a terminal only 1."""
        ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def wait(self) -> int:
        """Its exit code."""
        ...

    async def close(self) -> None:
        """Kill it if it still runs, and release everything."""
        ...


@dataclass(slots=True, frozen=True)
class ExecRequest:
    command: tuple[str, ...]
    tty: bool = False
    stdin: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class AttachRequest:
    """``tty`` must be the container's own."""

    tty: bool = False
    stdin: bool = False


class Runtime(Protocol):
    """Containers and images of one Host."""

    def adapt(self, container: Container) -> tuple[Container, tuple[str, ...]]:
        """The container as this machine can run it, and what had to be left out, in words."""
        ...

    async def version(self) -> str:
        """Name and version, "containerd://1.6.20"; raises TryAgain while it is away."""
        ...

    async def ensure(self, instances: Instances) -> None:
        """Bound what dedicated Instances may use: memory, and CPU in proportion, never in
        absolute terms (DESIGN section 2). Raises TryAgain."""
        ...

    async def image(self, reference: str) -> ImageInfo | None:
        """The local image of this reference, if there is one."""
        ...

    async def pull(self, reference: str) -> ImageInfo:
        """Fetch it; raises TryAgain (with the registry's words), RegistryAway or ImageError."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> RuntimeSandbox:
        """Make and start the sandbox with its network; nothing is left behind on failure."""
        ...

    async def stop_sandbox(self, id: str) -> None:
        """Kill what still runs in it and release its network."""
        ...

    async def remove_sandbox(self, id: str) -> None:
        """Forget it and its containers."""
        ...

    async def create_container(self, sandbox: RuntimeSandbox, spec: ContainerSpec) -> str:
        """Returns its id. Raises CallerFault where the spec is at fault."""
        ...

    async def start_container(self, id: str) -> int:
        """Returns its process id (0: ended already). Raises CallerFault when its command
        cannot be started (StartError)."""
        ...

    async def stop_container(self, id: str, grace_s: float, signal: str = "") -> None:
        """Signal (the image's or SIGTERM), wait ``grace_s``, kill; returns when it has ended."""
        ...

    async def remove_container(self, id: str) -> None: ...

    async def container(self, id: str) -> RuntimeContainer:
        """Its present state, never older than the exits already told; raises NotFound."""
        ...

    async def list(self) -> Listing:
        """Everything of ours; raises TryAgain while the runtime is away."""
        ...

    def events(self) -> AsyncIterator[Exited | None]:
        """Exits from now on: first ``None`` once the subscription stands (list after that and
        nothing is missed), then each exit. Ends or raises TryAgain when the runtime is lost."""
        ...

    async def exec_sync(self, id: str, command: tuple[str, ...], timeout_s: float) -> ExecResult:
        """Run to its end; raises TimedOut after ``timeout_s``."""
        ...

    async def exec(self, id: str, request: ExecRequest) -> ExecSession: ...

    async def attach(self, id: str, request: AttachRequest) -> ExecSession:
        """The streams of the container's own process, from now on. The session's ``wait``
        gives 0 once it has ended, ``close`` leaves it running."""
        ...

    async def reopen_log(self, id: str) -> None:
        """Write further output to a new file at the same path (after a rename)."""
        ...

    async def usage(self) -> tuple[Usage, ...]: ...

    async def close(self) -> None: ...


@dataclass(slots=True, frozen=True)
class Target:
    """What a probe is aimed at."""

    uid: str
    container_id: str
    address: str
    netns: str = ""


class Prober(Protocol):
    """Carries out single checks."""

    async def check(self, probe: Probe, target: Target) -> str:
        """Empty on success, else why it failed, in the kubelet's words. Raises TryAgain or
        CallerFault where the check could not be carried out, which says nothing of the
        container."""
        ...
