"""Pods and pod templates (``ValidatePodSpec`` and its kin of Kubernetes' core validation)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from proa.kube.schema.checks.affinity import check_affinity
from proa.kube.schema.checks.basics import (
    JSON,
    Errors,
    check_annotations,
    check_labels,
    in_range,
    not_negative,
    one_of,
    unique,
)
from proa.kube.schema.checks.containers import check_containers
from proa.kube.schema.checks.environment import check_downward_items
from proa.kube.schema.checks.security import check_host_sysctls, check_pod_security
from proa.kube.schema.errors import forbidden, invalid, required
from proa.kube.schema.names import label_faults, label_key_faults, subdomain_faults

MAX_INT32 = 2**31 - 1
RESTARTS = ["Always", "OnFailure", "Never"]
_DNS_POLICIES = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]
_EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"]
_POD_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)
# What a volume's source must say, by its name in the volume.
_SOURCES: dict[str, tuple[str, ...]] = {
    "hostPath": ("path",),
    "secret": ("secretName",),
    "configMap": ("name",),
    "persistentVolumeClaim": ("claimName",),
    "nfs": ("server", "path"),
    "csi": ("driver",),
    "ephemeral": ("volumeClaimTemplate",),
}


def check_pod(pod: JSON) -> Errors:
    """Of a new pod."""
    spec = pod.get("spec", {})
    errors = check_pod_spec(spec, "spec", RESTARTS)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return errors


def check_template(template: JSON | None, path: str, restarts: list[str]) -> Errors:
    """Of a workload's pod template; ``restarts`` are the restart policies that it may have."""
    template = template or {}
    metadata = template.get("metadata", {})
    errors = check_labels(metadata.get("labels"), f"{path}.metadata.labels")
    errors += check_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")
    errors += check_pod_spec(template.get("spec", {}), f"{path}.spec", restarts)
    if template.get("spec", {}).get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", detail))
    return errors


def check_pod_spec(spec: JSON, path: str, restarts: list[str]) -> Errors:
    volumes = spec.get("volumes", [])
    errors = _check_volumes(volumes, f"{path}.volumes")
    errors += check_containers(spec, path, {volume.get("name", "") for volume in volumes})
    errors += one_of(spec.get("restartPolicy"), restarts, f"{path}.restartPolicy")
    errors += one_of(spec.get("dnsPolicy"), _DNS_POLICIES, f"{path}.dnsPolicy")
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(required(f"{path}.dnsConfig.nameservers", detail))
    errors += check_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    grace = spec.get("terminationGracePeriodSeconds")
    errors += not_negative(grace, f"{path}.terminationGracePeriodSeconds")
    errors += in_range(
        spec.get("activeDeadlineSeconds"), 1, MAX_INT32, f"{path}.activeDeadlineSeconds"
    )
    for name, faults in (
        ("hostname", label_faults),
        ("subdomain", label_faults),
        ("serviceAccountName", subdomain_faults),
        ("nodeName", subdomain_faults),
        ("priorityClassName", subdomain_faults),
    ):
        if text := spec.get(name):
            errors += [invalid(f"{path}.{name}", text, fault) for fault in faults(text)]
    errors += check_affinity(spec.get("affinity"), f"{path}.affinity")
    errors += check_pod_security(spec.get("securityContext"), f"{path}.securityContext")
    errors += check_host_sysctls(spec, path)
    errors += _check_aliases(spec.get("hostAliases", []), f"{path}.hostAliases")
    gates = [gate.get("name", "") for gate in spec.get("schedulingGates", ())]
    errors += unique(gates, lambda index: f"{path}.schedulingGates[{index}]")
    for index, toleration in enumerate(spec.get("tolerations", ())):
        errors += _check_toleration(toleration, f"{path}.tolerations[{index}]")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints", ())):
        errors += _check_spread(constraint, f"{path}.topologySpreadConstraints[{index}]")
    return errors


def _check_aliases(aliases: list[JSON], path: str) -> Errors:
    errors: Errors = []
    for index, alias in enumerate(aliases):
        try:
            ip_address(alias.get("ip", ""))
        except ValueError:
            detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            errors.append(invalid(f"{path}[{index}].ip", alias.get("ip", ""), detail))
        for name in alias.get("hostnames", ()):
            faults = subdomain_faults(name)
            errors += [invalid(f"{path}[{index}].hostnames", name, fault) for fault in faults]
    return errors


def _check_volumes(volumes: list[JSON], path: str) -> Errors:
    names = [volume.get("name", "") for volume in volumes]
    errors = unique(names, lambda index: f"{path}[{index}].name")
    for index, volume in enumerate(volumes):
        at, name = f"{path}[{index}]", volume.get("name", "")
        if not name:
            errors.append(required(f"{at}.name"))
        else:
            errors += [invalid(f"{at}.name", name, fault) for fault in label_faults(name)]
        sources = [key for key in volume if key != "name"]
        if not sources:
            errors.append(required(at, "must specify a volume type"))
        for source in sources[1:]:
            errors.append(forbidden(f"{at}.{source}", "may not specify more than 1 volume type"))
        for source in sources[:1]:
            errors += _check_source(source, volume[source], f"{at}.{source}")
    return errors


def _check_source(kind: str, source: JSON, path: str) -> Errors:
    missing = [field for field in _SOURCES.get(kind, ()) if not source.get(field)]
    errors = [required(f"{path}.{field}") for field in missing]
    where = source.get("path", "") if kind == "hostPath" else ""
    if ".." in where.split("/"):
        errors.append(invalid(f"{path}.path", where, "must not contain '..'"))
    if kind == "downwardAPI":
        errors += check_downward_items(source.get("items", []), f"{path}.items")
    for index, part in enumerate(source.get("sources", ()) if kind == "projected" else ()):
        items = (part.get("downwardAPI") or {}).get("items", [])
        errors += check_downward_items(items, f"{path}.sources[{index}].downwardAPI.items")
    mode = source.get("defaultMode")
    if mode is not None and not 0 <= mode <= 0o777:
        detail = "must be a number between 0 and 0777 (octal), both inclusive"
        errors.append(invalid(f"{path}.defaultMode", mode, detail))
    return errors


def _check_toleration(toleration: JSON, path: str) -> Errors:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    errors: Errors = []
    if key:
        errors += [invalid(f"{path}.key", key, fault) for fault in label_key_faults(key)]
    elif operator != "Exists":
        detail = (
            "operator must be Exists when `key` is empty, which means "
            '"match all values and all keys"'
        )
        errors.append(invalid(f"{path}.operator", operator, detail))
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(invalid(f"{path}.effect", toleration.get("effect", ""), detail))
    if operator == "Exists" and toleration.get("value"):
        detail = "value must be empty when `operator` is 'Exists'"
        errors.append(invalid(f"{path}.operator", toleration["value"], detail))
    if operator:
        errors += one_of(operator, ["Equal", "Exists"], f"{path}.operator")
    if toleration.get("effect"):
        errors += one_of(toleration["effect"], _EFFECTS, f"{path}.effect")
    return errors


def _check_spread(constraint: JSON, path: str) -> Errors:
    errors: Errors = []
    skew = constraint.get("maxSkew", 0)
    if skew <= 0:
        errors.append(invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
    if not constraint.get("topologyKey"):
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    wanted = constraint.get("whenUnsatisfiable", "")
    supported = ["DoNotSchedule", "ScheduleAnyway"]
    return errors + one_of(wanted, supported, f"{path}.whenUnsatisfiable")


def check_pod_update(old: JSON, new: JSON) -> Errors:
    """Of a pod that changed by itself (not through a subresource)."""
    before, after = old.get("spec", {}), new.get("spec", {})
    for name in ("containers", "initContainers"):
        if len(before.get(name, ())) != len(after.get(name, ())):
            detail = "pod updates may not add or remove containers"
            return [forbidden(f"spec.{name}", detail)]
    errors: Errors = []
    for name in ("containers", "initContainers"):
        for index, container in enumerate(after.get(name, ())):
            if not container.get("image"):
                errors.append(required(f"spec.{name}[{index}].image"))
    deadline, wanted = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    if deadline is not None and (wanted is None or wanted > deadline):
        detail = "must be less than or equal to previous value"
        errors.append(invalid("spec.activeDeadlineSeconds", wanted, detail))
    if not _only_added(before.get("tolerations", []), after.get("tolerations", [])):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden("spec.tolerations", detail))
    if errors:
        return errors
    return (
        [] if _fixed(before, after) == _fixed(after, before) else [forbidden("spec", _POD_UPDATE)]
    )


def _only_added(before: list[JSON], after: list[JSON]) -> bool:
    def bare(toleration: JSON) -> JSON:
        return {key: item for key, item in toleration.items() if key != "tolerationSeconds"}

    kept = [bare(toleration) for toleration in after]
    return all(bare(toleration) in kept for toleration in before)


def _fixed(spec: JSON, other: JSON) -> JSON:
    """A pod's spec without what may change."""
    fixed: dict[str, Any] = {
        key: value
        for key, value in spec.items()
        if key not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    }
    for name in ("containers", "initContainers"):
        fixed[name] = [
            {key: value for key, value in container.items() if key != "image"}
            for container in spec.get(name, ())
        ]
    graces = (
        spec.get("terminationGracePeriodSeconds", 0),
        other.get("terminationGracePeriodSeconds", 0),
    )
    if min(graces) < 0 and max(graces) == 1:
        fixed["terminationGracePeriodSeconds"] = 1
    if spec.get("schedulingGates") or other.get("schedulingGates"):
        for name in ("nodeSelector", "affinity"):
            fixed.pop(name, None)
    return fixed
