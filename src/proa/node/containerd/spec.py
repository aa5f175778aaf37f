"""From the model's Sandbox and Container to the messages of CRI; pure.

Called by ``ContainerdRuntime``. Labels carry the identity (uid, container, attempt) by which
the agent adopts what runs; they are the kubelet's, so that ``crictl`` shows the usual columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proa.base.errors import CallerFault
from proa.model.sandbox import Container, Sandbox
from proa.node.ports import Bind, ContainerSpec, SandboxSpec
from proa.pb import cri_pb2 as cri

UID_LABEL = "io.kubernetes.pod.uid"
NAME_LABEL = "io.kubernetes.pod.name"
NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
CONTAINER_LABEL = "io.kubernetes.container.name"
OWNER_LABEL = "proa.instance"  # marks what is ours
MODE_LABEL = "proa.network"
CPU_LABEL = "proa.cpu"  # the Sandbox's limit and shares, set once its first container runs

CPU_UNIT = 128_000  # the model's parts of a vCPU
CPU_PERIOD_US = 100_000
_MIN_QUOTA_US = 1_000  # the kernel's smallest
_MIN_SHARES = 2  # the kernel's smallest
_PROPAGATIONS = {
    "": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}

# What runc's default profile hides; the kubelet sends the same lists (procMount Default).
_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def cgroup_parent(top: str, sandbox: Sandbox) -> str:
    """The cgroup under which runc puts the Sandbox's containers; ``top`` is the Layout's."""
    return f"{top}/{sandbox.instance or 'local'}/{sandbox.uid}"


def quota_us(cpu_quota: int) -> int:
    """CFS quota per period for a limit in 1/128,000 vCPU; 0: none."""
    return max(_MIN_QUOTA_US, cpu_quota * CPU_PERIOD_US // CPU_UNIT) if cpu_quota else 0


def labels(sandbox: Sandbox) -> dict[str, str]:
    """The identity of a Sandbox, and its own labels where they do not collide."""
    return {
        **dict(sandbox.labels),
        UID_LABEL: sandbox.uid,
        NAME_LABEL: sandbox.name,
        NAMESPACE_LABEL: sandbox.namespace,
        OWNER_LABEL: sandbox.instance or "local",
        MODE_LABEL: sandbox.network.mode,
        CPU_LABEL: f"{sandbox.cpu_quota}-{_shares(sandbox)}",
    }


def cpu_of(text: str) -> tuple[int, int]:
    """(limit, shares) of ``CPU_LABEL``'s text; none for one that is not ours."""
    limit, _, shares = text.partition("-")
    return (int(limit), int(shares)) if limit.isdigit() and shares.isdigit() else (0, 0)


def _shares(sandbox: Sandbox) -> int:
    """What all of its containers are to have together (kubelet, pod cgroups), and at least what
    its own limit lets it use."""
    mains = [item for item in sandbox.containers if not item.init or item.restart == "Always"]
    first = [item.cpu_shares for item in sandbox.containers if item.init]
    together = sum(max(item.cpu_shares, _MIN_SHARES) for item in mains)
    return max(together, *first, sandbox.cpu_quota * 1024 // CPU_UNIT, _MIN_SHARES)


def _namespaces(sandbox: Sandbox) -> Any:
    pid = cri.CONTAINER
    if sandbox.host_pid:
        pid = cri.NODE
    elif sandbox.share_pid:
        pid = cri.POD
    return cri.NamespaceOption(
        network=cri.NODE if sandbox.network.mode == "host" else cri.POD,
        pid=pid,
        ipc=cri.NODE if sandbox.host_ipc else cri.POD,
    )


def _seccomp(privileged: bool, profile: str = "", folder: Path | None = None) -> Any:
    """``profile`` as ``Container.seccomp``; a privileged container has none."""
    kinds = cri.SecurityProfile.ProfileType
    if privileged or profile == "unconfined":
        return cri.SecurityProfile(profile_type=kinds.Value("Unconfined"))
    name = profile.removeprefix("localhost/")
    if name == profile or folder is None:
        return cri.SecurityProfile(profile_type=kinds.Value("RuntimeDefault"))
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CallerFault(f"seccomp profile {name!r} leaves {folder}")
    return _profile_at(path)


def _profile_at(path: Path) -> Any:
    kind = cri.SecurityProfile.ProfileType.Value("Localhost")
    return cri.SecurityProfile(profile_type=kind, localhost_ref=str(path))


def _of_the_pause_process(sandbox: Sandbox, privileged: bool) -> Any:
    """It runs our own binary, which only waits, and nobody can reach it but containers that
    share its process namespace: then alone it is confined, because a filter costs a third of
    a sandbox's start."""
    reachable = sandbox.share_pid and not privileged
    return _seccomp(privileged, "" if reachable else "unconfined")


def _groups(sandbox: Sandbox, container: Container) -> tuple[int, ...]:
    own = () if sandbox.fs_group is None else (sandbox.fs_group,)
    return tuple(dict.fromkeys((*container.supplemental_groups, *own)))


def sandbox_config(spec: SandboxSpec, cgroup: str) -> Any:
    """``PodSandboxConfig`` of a Sandbox; ``cgroup`` is the Layout's."""
    sandbox = spec.sandbox
    dns = sandbox.network.dns
    privileged = any(container.privileged for container in sandbox.containers)
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=sandbox.name,
            uid=sandbox.uid,
            namespace=sandbox.namespace,
            attempt=spec.attempt,
        ),
        hostname="" if sandbox.network.mode == "host" else sandbox.network.hostname,
        log_directory=spec.log_dir,
        dns_config=cri.DNSConfig(servers=dns.servers, searches=dns.searches, options=dns.options)
        if dns.servers
        else None,
        labels=labels(sandbox),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent(cgroup, sandbox),
            sysctls=dict(sandbox.sysctls),
            security_context=cri.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(sandbox),
                privileged=privileged,
                seccomp=_of_the_pause_process(sandbox, privileged),
            ),
        ),
    )


def _user(container: Container) -> dict[str, Any]:
    """CRI's user fields of "uid", "uid:gid", "name" or "name:gid", whose group is set by
    ``oci.Patch``. Names of groups are in the image alone, where nobody looks."""
    user, _, group = container.user.partition(":")
    if group and not group.isdigit():
        raise CallerFault(f"user {container.user!r}: the group must be numeric")
    if not user:
        return {}
    if not user.isdigit():
        return {"run_as_username": user}
    fields: dict[str, Any] = {"run_as_user": cri.Int64Value(value=int(user))}
    if group:
        fields["run_as_group"] = cri.Int64Value(value=int(group))
    return fields


def _capabilities(container: Container) -> Any:
    def plain(names: tuple[str, ...]) -> list[str]:
        return [name.upper().removeprefix("CAP_") for name in names]

    return cri.Capability(
        add_capabilities=plain(container.add_capabilities),
        drop_capabilities=plain(container.drop_capabilities),
    )


def _resources(sandbox: Sandbox, container: Container) -> Any:
    """CPU and memory of one container; its quota never exceeds the Sandbox's, because the
    kernel refuses that."""
    quota = quota_us(container.cpu_quota)
    whole = quota_us(sandbox.cpu_quota)
    if quota and whole:
        quota = min(quota, whole)
    return cri.LinuxContainerResources(
        cpu_period=CPU_PERIOD_US if quota else 0,
        cpu_quota=quota,
        cpu_shares=max(container.cpu_shares, _MIN_SHARES),
        memory_limit_in_bytes=container.memory_limit,
    )


def _security(sandbox: Sandbox, container: Container, seccomp: Any) -> Any:
    return cri.LinuxContainerSecurityContext(
        capabilities=_capabilities(container),
        privileged=container.privileged,
        namespace_options=_namespaces(sandbox),
        readonly_rootfs=container.read_only_root,
        no_new_privs=not container.allow_privilege_escalation,
        masked_paths=() if container.privileged else _MASKED,
        readonly_paths=() if container.privileged else _READ_ONLY,
        supplemental_groups=_groups(sandbox, container),
        seccomp=seccomp,
        **_user(container),
    )


def _mount(bind: Bind) -> Any:
    return cri.Mount(
        host_path=bind.source,
        container_path=bind.target,
        readonly=bind.read_only,
        propagation=_PROPAGATIONS[bind.propagation],
    )


def container_config(
    sandbox: Sandbox,
    spec: ContainerSpec,
    profiles: Path | None = None,
    default_profile: Path | None = None,
) -> Any:
    """``ContainerConfig`` of a container; ``profiles`` is the folder of its seccomp profiles,
    ``default_profile`` a file that stands for the runtime's own. Raises CallerFault for a user
    it cannot express and a profile that leaves the folder."""
    container = spec.container
    if default_profile is not None and not container.privileged and not container.seccomp:
        seccomp = _profile_at(default_profile)
    else:
        seccomp = _seccomp(container.privileged, container.seccomp, profiles)
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container.name, attempt=spec.attempt),
        image=cri.ImageSpec(image=spec.image.id),
        command=container.entrypoint or (),
        args=container.arguments or (),
        working_dir=container.working_dir,
        envs=[cri.KeyValue(key=key, value=value) for key, value in container.environment],
        mounts=[_mount(bind) for bind in spec.binds if not bind.tmpfs],
        devices=[
            cri.Device(
                host_path=device.host_path,
                container_path=device.path,
                permissions=device.permissions,
            )
            for device in container.devices
        ],
        labels={
            UID_LABEL: sandbox.uid,
            NAME_LABEL: sandbox.name,
            NAMESPACE_LABEL: sandbox.namespace,
            CONTAINER_LABEL: container.name,
        },
        log_path=spec.log_path,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        linux=cri.LinuxContainerConfig(
            resources=_resources(sandbox, container),
            security_context=_security(sandbox, container, seccomp),
        ),
    )
