"""linuxParameters, ulimits, kernel parameters and users: what Linux understands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proa.aws.ecs.taskdef_rules.common import Document, containers_of, invalid, mode_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# KernelCapabilities, service model.
CAPABILITIES = _words(
    "ALL AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID "
    "IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN "
    "NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT "
    "SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG SYSLOG WAKE_ALARM"
)
# Tmpfs.mountOptions, service model.
MOUNT_OPTIONS = _words(
    "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime "
    "noatime diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared "
    "slave rslave relatime norelatime strictatime nostrictatime mode uid gid nr_inodes nr_blocks "
    "mpol"
)
IPC_CONTROLS = _words(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax "
    "kernel.shmmni kernel.shm_rmid_forced"
)
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$")
_SECURITY = re.compile(r"^(no-new-privileges|(apparmor|label|credentialspec)[:=].+)$")


def rules(request: Document) -> Iterator[str]:
    """Every container's Linux settings."""
    for name, container in containers_of(request):
        yield from _linux(name, container.get("linuxParameters") or {})
        yield from _ulimits(name, container)
        yield from _controls(request, name, container)
        if container.get("user") and not _USER.match(container["user"]):
            yield invalid("user", name)
        for option in container.get("dockerSecurityOptions") or []:
            if not _SECURITY.match(option):
                yield invalid("dockerSecurityOptions", name, f"'{option}' is not supported.")
        if len(container.get("credentialSpecs") or []) > 1:
            yield invalid("credentialSpecs", name, "The maximum number of ARNs is 1.")
        directory = container.get("workingDirectory")
        if directory and not directory.startswith("/"):
            yield invalid("workingDirectory", name, "It must be an absolute path.")


def _linux(name: str, linux: Document) -> Iterator[str]:
    capabilities = linux.get("capabilities") or {}
    for member in ("add", "drop"):
        for capability in capabilities.get(member) or []:
            if capability not in CAPABILITIES:
                yield invalid("capabilities", name, f"'{capability}' is not a capability.")
    for device in linux.get("devices") or []:
        paths = (device["hostPath"], device.get("containerPath") or "/")
        if not all(path.startswith("/") for path in paths):
            yield invalid("devices", name, "Paths must be absolute.")
    for mount in linux.get("tmpfs") or []:
        if not mount["containerPath"].startswith("/"):
            yield invalid("tmpfs", name, "The containerPath must be absolute.")
        if mount["size"] <= 0:
            yield invalid("tmpfs", name, "The size must be a positive number of MiB.")
        for option in mount.get("mountOptions") or []:
            if option.partition("=")[0] not in MOUNT_OPTIONS:
                yield invalid("tmpfs", name, f"'{option}' is not a mount option.")
    if linux.get("sharedMemorySize") is not None and linux["sharedMemorySize"] <= 0:
        yield invalid("sharedMemorySize", name, "It must be a positive number of MiB.")
    if linux.get("maxSwap") is not None and linux["maxSwap"] < 0:
        yield invalid("maxSwap", name, "Accepted values are 0 or any positive integer.")
    if linux.get("swappiness") is not None and not 0 <= linux["swappiness"] <= 100:
        yield invalid("swappiness", name, "Accepted values are whole numbers between 0 and 100.")


def _ulimits(name: str, container: Document) -> Iterator[str]:
    seen: set[str] = set()
    for limit in container.get("ulimits") or []:
        soft, hard = limit["softLimit"], limit["hardLimit"]
        if limit["name"] in seen:
            yield invalid("ulimits", name, f"'{limit['name']}' is set more than once.")
        seen.add(limit["name"])
        if min(soft, hard) < -1:
            yield invalid("ulimits", name, "A limit can't be negative; -1 is unlimited.")
        if hard != -1 and (soft > hard or soft == -1):
            yield invalid("ulimits", name, "The soft limit can't be greater than the hard limit.")


def _controls(request: Document, name: str, container: Document) -> Iterator[str]:
    mode = mode_of(request)
    for control in container.get("systemControls") or []:
        key, value = control.get("namespace") or "", control.get("value")
        if not key or value is None:
            yield invalid("systemControls", name, "Both namespace and value must be specified.")
        is_ipc = key in IPC_CONTROLS or key.startswith("fs.mqueue.")
        if not is_ipc and not key.startswith("net."):
            yield invalid("systemControls", name, f"'{key}' is not a namespaced kernel parameter.")
        if key.startswith("net.") and mode == "host":
            yield f"Network systemControls are not supported when networkMode={mode}."
        if is_ipc and request.get("ipcMode") == "host":
            yield "IPC systemControls are not supported when ipcMode=host."
