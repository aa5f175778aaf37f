"""A container's variables, and the fields that variables and files of a pod may show."""

from __future__ import annotations

import re

from proa.kube.schema.checks.basics import JSON, Errors
from proa.kube.schema.errors import invalid, required, unsupported
from proa.kube.schema.names import label_key_faults, qualified_name_faults

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_FAULT = (
    "a valid environment variable name must consist only of printable ASCII characters other "
    "than '='"
)
_OWN_FIELDS = ["metadata.name", "metadata.namespace", "metadata.uid"]
_ENV_FIELDS = [
    *_OWN_FIELDS,
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
]
_FILE_FIELDS = ["metadata.annotations", "metadata.labels", *_OWN_FIELDS]
_RESOURCES = [
    f"{part}.{name}" for part in ("limits", "requests")
    for name in ("cpu", "ephemeral-storage", "memory")
]  # fmt: skip
# What a pod's fields can be converted from at all; others are unknown rather than unsupported.
_KNOWN = {*_ENV_FIELDS, *_FILE_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase",
          "spec.hostNetwork", "status.nominatedNodeName"}  # fmt: skip
_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]", re.DOTALL)
_DIVISORS = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}


def check_variable(variable: JSON, path: str) -> Errors:
    """Of one entry of ``env``."""
    name, source = variable.get("name", ""), variable.get("valueFrom")
    if not name:
        return [required(f"{path}.name")]
    errors: Errors = []
    if not all(" " <= letter <= "~" and letter != "=" for letter in name):
        errors.append(invalid(f"{path}.name", name, _ENV_FAULT))
    if source is None:
        return errors
    given = [kind for kind in _SOURCES if kind in source]
    at = f"{path}.valueFrom"
    if variable.get("value"):
        errors.append(invalid(at, "", "may not be specified when `value` is not empty"))
    if not given:
        listed = ", ".join(f"`{kind}`" for kind in _SOURCES[:-1])
        detail = f"must specify one of: {listed} or `{_SOURCES[-1]}`"
        errors.append(invalid(at, "", detail))
    elif len(given) > 1:
        errors.append(invalid(at, "", "may not have more than one field specified at a time"))
    for kind in given:
        if kind in ("configMapKeyRef", "secretKeyRef"):
            missing = [field for field in ("name", "key") if not source[kind].get(field)]
            errors += [required(f"{at}.{kind}.{field}") for field in missing]
        elif kind == "fieldRef":
            errors += check_field(source[kind], f"{at}.fieldRef", _ENV_FIELDS)
        elif kind == "resourceFieldRef":
            errors += check_resource_field(source[kind], f"{at}.resourceFieldRef", named=False)
    return errors


def check_field(reference: JSON, path: str, supported: list[str]) -> Errors:
    """Of an ObjectFieldSelector."""
    field, at = reference.get("fieldPath", ""), f"{path}.fieldPath"
    if not reference.get("apiVersion", "v1"):
        return [required(f"{path}.apiVersion")]
    if not field:
        return [required(at)]
    subscript = _SUBSCRIPT.fullmatch(field)
    if subscript:
        where, key = subscript.groups()
        labels = where.endswith("labels")
        faults = label_key_faults(key) if labels else qualified_name_faults(key.lower())
        return [invalid(path, key, fault) for fault in faults]
    if field not in _KNOWN:
        detail = f"error converting fieldPath: field label not supported: {field}"
        return [invalid(at, field, detail)]
    return [] if field in supported else [unsupported(at, field, sorted(supported))]


def check_resource_field(reference: JSON, path: str, *, named: bool) -> Errors:
    """Of a ResourceFieldSelector; ``named`` where it must say the container."""
    if named and not reference.get("containerName"):
        return [required(f"{path}.containerName")]
    resource = reference.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    _, _, name = resource.partition(".")
    if resource not in _RESOURCES and not name.startswith("hugepages-"):
        return [unsupported(f"{path}.resource", resource, sorted(_RESOURCES))]
    divisor = reference.get("divisor", "0")
    known = _DIVISORS["cpu" if name == "cpu" else "memory"]
    if divisor != "0" and divisor not in known:
        detail = f"only divisor's values {', '.join(known)} are supported with the {name} resource"
        return [invalid(f"{path}.divisor", divisor, detail)]
    return []


def check_downward_items(items: list[JSON], path: str) -> Errors:
    """Of the files of a downward API volume."""
    errors: Errors = []
    for index, item in enumerate(items):
        at, name = f"{path}[{index}]", item.get("path", "")
        if not name:
            errors.append(required(f"{at}.path"))
        elif name.startswith("/") or ".." in name.split("/"):
            detail = "must be a relative path" if name[0] == "/" else "must not contain '..'"
            errors.append(invalid(f"{at}.path", name, detail))
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field and resource:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(at, "resource", detail))
        elif field:
            errors += check_field(field, f"{at}.fieldRef", _FILE_FIELDS)
        elif resource:
            errors += check_resource_field(resource, f"{at}.resourceFieldRef", named=True)
        else:
            detail = "one of fieldRef and resourceFieldRef is required"
            errors.append(required(f"{at}.fieldRef", detail))
    return errors
