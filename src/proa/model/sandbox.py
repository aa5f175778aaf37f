"""Sandboxes as the agent is told of them: compiled from a Task or a Pod, never stored beside it.

The bows' ``compile_task`` and ``compile_pod`` make a ``Sandbox``; ``dispatch.feed`` sends it to
the agent of its Host inside an ``Assignment``; the agent reports a ``SandboxStatus`` under the
same ``uid``. Identity is (uid, container name, attempt), never the compiled text.
"""

from __future__ import annotations

import msgspec

from proa.model.resources import Port, Resources


class HttpProbe(msgspec.Struct, frozen=True, omit_defaults=True):
    """GET ``scheme://host:port/path``; 200 to 399 is success. No host means the Sandbox."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()


class Probe(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check, by exactly one of ``http``, ``tcp_port``, ``grpc_port``, ``command``; as a hook,
    also ``sleep_s``."""

    http: HttpProbe | None = None
    tcp_port: int = 0
    grpc_port: int = 0
    grpc_service: str = ""
    command: tuple[str, ...] = ()
    sleep_s: float | None = None  # a lifecycle hook that only waits
    initial_delay_s: float = 0
    period_s: float = 10
    timeout_s: float = 1
    successes: int = 1
    failures: int = 3
    start_period_s: float = 0  # failures this soon after the start do not count (ECS)
    grace_s: int | None = None  # overrides the Sandbox's grace when this probe kills


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a container sees a volume of its Sandbox."""

    volume: str
    path: str
    read_only: bool = False
    sub_path: str = ""
    propagation: str = ""  # "HostToContainer", "Bidirectional"; empty: private
    options: tuple[str, ...] = ()  # of a tmpfs: "noexec", "mode=1777" …


class Ulimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process limit by its name without RLIMIT_, in lower case ("nofile"); -1: unlimited."""

    name: str
    soft: int
    hard: int


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device of the Host; ``permissions`` of "r", "w", "m"."""

    host_path: str
    path: str
    permissions: str = "rwm"


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a ``files`` volume: config maps, secrets, tokens, downward values."""

    path: str
    content: bytes
    mode: int = 0o644


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """``empty`` (a directory that dies with the Sandbox; ``medium="Memory"`` is a tmpfs),
    ``files`` (rendered content on a tmpfs, updated atomically), ``host`` (a path of the Host) or
    ``shared`` (a directory of the Instance under ``path`` as its name, which outlives them)."""

    name: str
    kind: str = "empty"
    medium: str = ""
    size_limit: int = 0
    files: tuple[File, ...] = ()
    path: str = ""
    path_type: str = ""


class LogSink(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a container's output goes besides the local file (awslogs)."""

    group: str
    stream: str
    region: str
    account: str


class Dependency(msgspec.Struct, frozen=True, omit_defaults=True):
    """Start after ``container`` reached ``condition``: START, COMPLETE, SUCCESS, HEALTHY."""

    container: str
    condition: str = "START"


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    """resolv.conf; empty ``servers`` means the Host's own."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """``vpc`` (an interface of its own with ``address``), ``host`` (the Instance's namespace)
    or ``none``."""

    mode: str = "vpc"
    vpc: str = ""
    address: str = ""
    mac: str = ""
    hostname: str = ""
    dns: Dns = Dns()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # extra /etc/hosts lines


class Container(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container. ``entrypoint`` and ``arguments`` replace the image's when not None."""

    name: str
    image: str
    pull: str = "IfNotPresent"  # "Always", "Never"
    entrypoint: tuple[str, ...] | None = None
    arguments: tuple[str, ...] | None = None
    working_dir: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    user: str = ""  # "uid", "uid:gid", "name"; empty: the image's
    cpu_shares: int = 0  # 0: the runtime's minimum
    cpu_quota: int = 0  # limit in 1/128,000 vCPU; 0: none
    memory_limit: int = 0  # bytes; 0: none
    liveness: Probe | None = None
    readiness: Probe | None = None
    startup: Probe | None = None
    essential: bool = True  # ECS: its end ends the Sandbox
    restart: str = "Never"  # "Always", "OnFailure"
    depends_on: tuple[Dependency, ...] = ()
    init: bool = False  # runs to success, in order, before the others
    stop_grace_s: int | None = None
    stop_signal: str = ""
    pre_stop: Probe | None = None  # exec or http hook, part of the grace
    post_start: Probe | None = None
    log: LogSink | None = None
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False  # its standard input ends with the first who attached to it
    privileged: bool = False
    read_only_root: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    allow_privilege_escalation: bool = True
    run_as_non_root: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_from_logs: bool = False  # on failure, when the file is empty
    network: Network | None = None  # a namespace of its own (ECS bridge and none modes)
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()  # of a container with a namespace of its own
    devices: tuple[Device, ...] = ()
    shm_size: int = 0  # bytes; 0: the runtime's 64 MiB
    swap_limit: int | None = None  # bytes of swap besides the memory limit; None: not limited
    swappiness: int | None = None
    init_process: bool = False  # an init as process 1: forwards signals, reaps
    supplemental_groups: tuple[int, ...] = ()
    seccomp: str = ""  # "unconfined", "localhost/PATH"; empty: the runtime's default
    restart_ignored: tuple[int, ...] = ()  # exit codes after which it is not restarted (ECS)
    restart_after_s: int = 0  # it must have run this long to be restarted (ECS)
    blocked: str = ""  # why it cannot be created yet ("CreateContainerConfigError: …")


class Sandbox(msgspec.Struct, frozen=True, omit_defaults=True):
    """Containers that live and die together: a task or a pod, ready to run."""

    uid: str
    name: str
    namespace: str  # pod namespace, or the ECS cluster's name
    key: str  # the store key of the Task or Pod it was compiled from
    instance: str
    containers: tuple[Container, ...]  # init containers first, in order
    skin: str = "kube"  # or "ecs"
    cluster: str = ""  # the Instance's cluster prefix
    network: Network = Network()
    volumes: tuple[Volume, ...] = ()
    reserve: Resources = Resources()  # what admission books on the Pool
    ports: tuple[Port, ...] = ()  # ports taken on the Instance
    grace_s: int = 30
    memory_limit: int = 0  # of the whole Sandbox (a task's memory); 0: none
    cpu_quota: int = 0
    host_pid: bool = False
    host_ipc: bool = False
    share_pid: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    fs_group: int | None = None  # owns its volumes, and every container is in it
    labels: tuple[tuple[str, str], ...] = ()
    created_at: float = 0.0
    active_deadline_s: int = 0


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the feed about one Sandbox. ``want`` is "run", "stop" (gracefully, within
    ``grace_s`` from ``since``) or "gone" (the record has vanished: kill and forget). At
    ``fresh_until`` (wall seconds; 0: never) it must be compiled anew: a token in it ages."""

    uid: str
    want: str
    version: int = 0
    sandbox: Sandbox | None = None  # present with "run"; the agent knows what it stops
    grace_s: int = 30
    since: float = 0.0
    fresh_until: float = 0.0


class ContainerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """``state`` is waiting, running or exited; times are wall seconds, 0 when unknown."""

    name: str
    state: str = "waiting"
    reason: str = (
        ""  # ContainerCreating, ImagePullBackOff, CrashLoopBackOff, Completed, Error, OOMKilled …
    )
    message: str = ""
    attempt: int = 0
    restarts: int = 0
    id: str = ""
    image: str = ""
    image_digest: str = ""
    pid: int = 0
    exit_code: int | None = None
    signal: int = 0
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    started: bool = False  # running and its startup probe, if any, has succeeded
    ready: bool = False  # started and its readiness probe, if any, succeeds
    healthy: bool | None = None  # ECS health check: None is UNKNOWN
    last: ContainerStatus | None = None  # the attempt before this one


class SandboxStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent says of a Sandbox. ``phase`` goes pending → running → succeeded|failed,
    and ``gone`` is set once nothing of it is left on the Host (also for one that was never
    started). ``reason`` is set where the Sandbox as a whole was refused or ended
    (OutOfcpu, OutOfmemory, OutOfpods, Evicted, DeadlineExceeded …)."""

    uid: str
    phase: str = "pending"
    reason: str = ""
    message: str = ""
    key: str = ""
    skin: str = ""
    address: str = ""
    containers: tuple[ContainerStatus, ...] = ()
    pull_started_at: float = 0.0
    pull_stopped_at: float = 0.0
    sandbox_ready_at: float = 0.0
    started_at: float = 0.0
    stopping: bool = False
    gone: bool = False
    serial: int = 0  # grows with every report of this Sandbox by this agent


class NodeEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something worth telling a user: Pulling, Pulled, Created, Started, Killing, Unhealthy,
    BackOff, Failed, FailedMount … ``kind`` is Normal or Warning."""

    uid: str
    reason: str
    message: str
    kind: str = "Normal"
    container: str = ""
    at: float = 0.0
