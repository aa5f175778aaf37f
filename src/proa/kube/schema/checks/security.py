"""Security contexts of pods and containers (``ValidatePodSecurityContext`` and its kin)."""

from __future__ import annotations

import re

from proa.kube.schema.checks.basics import JSON, Errors, in_range, one_of, unique
from proa.kube.schema.errors import forbidden, invalid, required

HIGHEST_ID = 2**31 - 1
_PROFILES = ["Localhost", "RuntimeDefault", "Unconfined"]
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL_LENGTH = 253
_IN_NAMESPACES = ("net.", "fs.mqueue.", "kernel.shm", "kernel.msg", "kernel.sem")


def check_pod_security(context: JSON | None, path: str) -> Errors:
    """Of a pod's spec."""
    context = context or {}
    errors = _check_ids(context, path, ("runAsUser", "runAsGroup", "fsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += in_range(group, 0, HIGHEST_ID, f"{path}.supplementalGroups[{index}]")
    errors += one_of(
        context.get("fsGroupChangePolicy"),
        ["Always", "OnRootMismatch"],
        f"{path}.fsGroupChangePolicy",
    )
    errors += one_of(
        context.get("supplementalGroupsPolicy"),
        ["Merge", "Strict"],
        f"{path}.supplementalGroupsPolicy",
    )
    errors += _check_profiles(context, path)
    return errors + _check_sysctls(context.get("sysctls") or [], f"{path}.sysctls")


def check_container_security(context: JSON | None, path: str) -> Errors:
    """Of a container."""
    context = context or {}
    errors = _check_ids(context, path, ("runAsUser", "runAsGroup"))
    errors += one_of(context.get("procMount"), ["Default", "Unmasked"], f"{path}.procMount")
    errors += _check_profiles(context, path)
    if context.get("allowPrivilegeEscalation") is False:
        refused = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            errors.append(invalid(path, context, f"{refused} `privileged` to true"))
        if "SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = f"{refused} `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, context, detail))
    return errors


def _check_ids(context: JSON, path: str, names: tuple[str, ...]) -> Errors:
    return [
        error
        for name in names
        for error in in_range(context.get(name), 0, HIGHEST_ID, f"{path}.{name}")
    ]


def _check_profiles(context: JSON, path: str) -> Errors:
    """seccomp's and AppArmor's, which have one form."""
    errors: Errors = []
    for name, shown in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(name)
        if profile is None:
            continue
        kind, local, at = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.{name}"
        if not kind:
            errors.append(required(f"{at}.type", f"type is required when {name} is set"))
        else:
            errors += one_of(kind, _PROFILES, f"{at}.type")
        if kind == "Localhost" and not local:
            detail = f"must be set when {shown} type is Localhost"
            errors.append(required(f"{at}.localhostProfile", detail))
        elif kind != "Localhost" and local:
            detail = f"can only be set when {shown} type is Localhost"
            errors.append(invalid(f"{at}.localhostProfile", local, detail))
        if local and (local.startswith("/") or ".." in local.split("/")):
            detail = "must be a relative path" if local[0] == "/" else "must not contain '..'"
            errors.append(invalid(f"{at}.localhostProfile", local, detail))
    return errors


def _check_sysctls(sysctls: list[JSON], path: str) -> Errors:
    errors: Errors = []
    for index, sysctl in enumerate(sysctls):
        name = sysctl.get("name", "")
        if not name:
            errors.append(required(f"{path}[{index}].name"))
        elif len(name) > _SYSCTL_LENGTH or not re.fullmatch(_SYSCTL, name):
            detail = f"must have at most {_SYSCTL_LENGTH} characters and match regex ^{_SYSCTL}$"
            errors.append(invalid(f"{path}[{index}].name", name, detail))
    names = [str(sysctl.get("name", "")).replace("/", ".") for sysctl in sysctls]
    return errors + unique(names, lambda index: f"{path}[{index}].name")


def check_host_sysctls(spec: JSON, path: str) -> Errors:
    """A pod in the node's namespaces may not change the node's settings."""
    errors: Errors = []
    for index, sysctl in enumerate((spec.get("securityContext") or {}).get("sysctls") or ()):
        name, at = sysctl.get("name", ""), f"{path}.securityContext.sysctls[{index}].name"
        if spec.get("hostNetwork") and name.startswith("net."):
            errors.append(invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        if spec.get("hostIPC") and name.startswith(_IN_NAMESPACES[1:]):
            errors.append(invalid(at, name, "may not be specified when 'hostIPC' is true"))
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    if spec.get("hostUsers") is False and (spec.get("hostPID") or spec.get("hostIPC")):
        detail = "when `hostUsers` is false"
        errors.append(forbidden(f"{path}.hostPID", detail))
    return errors
