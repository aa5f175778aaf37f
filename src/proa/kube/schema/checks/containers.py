"""A pod's containers: names, images, ports, environment, mounts, resources, probes."""

from __future__ import annotations

import re
from typing import Any

from proa.base.quantity import parse_quantity
from proa.kube.schema.checks.basics import JSON, Errors, in_range, not_negative, one_of, unique
from proa.kube.schema.checks.environment import check_variable
from proa.kube.schema.checks.security import check_container_security
from proa.kube.schema.errors import (
    NOT_FOUND,
    FieldError,
    duplicate,
    forbidden,
    invalid,
    required,
)
from proa.kube.schema.names import label_faults, qualified_name_faults

HIGHEST_PORT = 65535
PROTOCOLS = ["SCTP", "TCP", "UDP"]
_PULLS = ["Always", "IfNotPresent", "Never"]
_MESSAGES = ["FallbackToLogsOnError", "File"]
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_STANDARD = ("cpu", "memory", "ephemeral-storage")


def check_containers(spec: JSON, path: str, volumes: set[str]) -> Errors:
    """Of the containers and init containers of a pod's spec."""
    errors: Errors = []
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field, ())):
            at = f"{path}.{field}[{index}]"
            errors += _check_name(container, at, seen)
            errors += _check_container(container, at, volumes, bool(spec.get("hostNetwork")))
            if field == "initContainers":
                errors += _check_init(container, at)
    return errors + _check_host_ports(spec, path)


def _check_host_ports(spec: JSON, path: str) -> Errors:
    """Two containers cannot have one port of the node; init containers run before the others."""
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(spec.get("containers", ())):
        for place, port in enumerate(container.get("ports", ())):
            if not port.get("hostPort"):
                continue
            what = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if what in seen:
                at = f"{path}.containers[{index}].ports[{place}].hostPort"
                errors.append(duplicate(at, what))
            seen.add(what)
    return errors


def _check_name(container: JSON, path: str, seen: set[str]) -> Errors:
    name = container.get("name", "")
    if not name:
        return [required(f"{path}.name")]
    if name in seen:
        return [duplicate(f"{path}.name", name)]
    seen.add(name)
    return [invalid(f"{path}.name", name, fault) for fault in label_faults(name)]


def _check_init(container: JSON, path: str) -> Errors:
    """Init containers that end have nothing that needs a running one."""
    if container.get("restartPolicy") == "Always":
        return []
    detail = "may not be set for init containers without restartPolicy=Always"
    fields = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
    return [forbidden(f"{path}.{name}", detail) for name in fields if container.get(name)]


def _check_container(container: JSON, path: str, volumes: set[str], host_network: bool) -> Errors:
    errors: Errors = []
    image = container.get("image", "")
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        detail = "must not have leading or trailing whitespace"
        errors.append(invalid(f"{path}.image", image, detail))
    errors += _check_ports(container.get("ports", []), f"{path}.ports", host_network)
    for index, variable in enumerate(container.get("env", ())):
        errors += check_variable(variable, f"{path}.env[{index}]")
    errors += _check_mounts(container.get("volumeMounts", []), f"{path}.volumeMounts", volumes)
    errors += check_resources(container.get("resources", {}), f"{path}.resources")
    errors += one_of(container.get("imagePullPolicy"), _PULLS, f"{path}.imagePullPolicy")
    errors += one_of(
        container.get("terminationMessagePolicy"), _MESSAGES, f"{path}.terminationMessagePolicy"
    )
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            errors += _check_probe(probe, f"{path}.{name}", name != "readinessProbe")
    errors += check_container_security(container.get("securityContext"), f"{path}.securityContext")
    for name, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            errors += _check_handler(handler, f"{path}.lifecycle.{name}")
    return errors


def _check_ports(ports: list[JSON], path: str, host_network: bool) -> Errors:
    errors = unique([port.get("name") for port in ports], lambda index: f"{path}[{index}].name")
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            errors.append(required(f"{at}.containerPort"))
        else:
            errors += in_range(number, 1, HIGHEST_PORT, f"{at}.containerPort")
        if host:
            errors += in_range(host, 1, HIGHEST_PORT, f"{at}.hostPort")
            if host_network and host != number:
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(f"{at}.hostPort", host, detail))
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{at}.protocol")
        if name := port.get("name"):
            errors += [invalid(f"{at}.name", name, fault) for fault in port_name_faults(name)]
    return errors


def port_name_faults(name: str) -> list[str]:
    """Of an IANA service name (``IsValidPortName``)."""
    faults: list[str] = []
    if len(name) > 15:
        faults.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        faults.append("must contain at least one letter (a-z)")
    if "--" in name:
        faults.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def check_port_reference(port: Any, path: str) -> Errors:
    """Of a port by number or name."""
    if isinstance(port, int):
        return in_range(port, 1, HIGHEST_PORT, path)
    return [invalid(path, port, fault) for fault in port_name_faults(port or "")]


def _check_mounts(mounts: list[JSON], path: str, volumes: set[str]) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        name, at = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{path}[{index}].name"))
        elif name not in volumes:
            errors.append(FieldError(NOT_FOUND, f"{path}[{index}].name", "", name))
        if not at:
            errors.append(required(f"{path}[{index}].mountPath"))
        elif at in seen:
            errors.append(invalid(f"{path}[{index}].mountPath", at, "must be unique"))
        seen.add(at)
        sub = mount.get("subPath", "")
        if sub.startswith("/"):
            errors.append(invalid(f"{path}[{index}].subPath", sub, "must be a relative path"))
        elif ".." in sub.split("/"):
            errors.append(invalid(f"{path}[{index}].subPath", sub, "must not contain '..'"))
    return errors


def check_resources(resources: JSON, path: str) -> Errors:
    """Of requests and limits: no names but resources', nothing negative, requests within limits."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    errors = _check_amounts(limits, f"{path}.limits")
    errors += _check_amounts(requests, f"{path}.requests")
    for name, amount in requests.items():
        limit = limits.get(name)
        plain = name in _STANDARD or name.startswith("hugepages-")
        if limit is None:
            if not plain:
                detail = "Limit must be set for non overcommitable resources"
                errors.append(required(f"{path}.limits", detail))
        elif not plain and parse_quantity(amount) != parse_quantity(limit):
            detail = f"must be equal to {name} limit of {limit}"
            errors.append(invalid(f"{path}.requests", amount, detail))
        elif parse_quantity(amount) > parse_quantity(limit):
            detail = f"must be less than or equal to {name} limit of {limit}"
            errors.append(invalid(f"{path}.requests", amount, detail))
    return errors


def _check_amounts(amounts: JSON, path: str) -> Errors:
    errors: Errors = []
    for name, amount in amounts.items():
        at = f"{path}[{name}]"
        errors += [invalid(at, name, fault) for fault in qualified_name_faults(name)]
        if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
            errors.append(invalid(at, name, "must be a standard resource for containers"))
        value = parse_quantity(amount)
        if value < 0:
            errors.append(invalid(at, amount, "must be greater than or equal to 0"))
        elif "/" in name and value != value.to_integral_value():
            errors.append(invalid(at, amount, "must be an integer"))
    return errors


def _check_probe(probe: JSON, path: str, once: bool) -> Errors:
    errors = _check_handler(probe, path)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        errors += not_negative(probe.get(name), f"{path}.{name}")
    successes = probe.get("successThreshold", 1)
    if once and successes != 1:
        errors.append(invalid(f"{path}.successThreshold", successes, "must be 1"))
    return errors


def _check_handler(handler: JSON, path: str) -> Errors:
    given = [kind for kind in _HANDLERS if kind in handler]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [
        forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
        for kind in given[1:]
    ]
    kind, details = given[0], handler[given[0]]
    if kind == "exec" and not details.get("command"):
        errors.append(required(f"{path}.exec.command"))
    if kind in ("httpGet", "tcpSocket", "grpc"):
        errors += check_port_reference(details.get("port", 0), f"{path}.{kind}.port")
    if kind == "httpGet":
        if not details.get("path"):
            errors.append(required(f"{path}.httpGet.path"))
        errors += one_of(details.get("scheme"), ["HTTP", "HTTPS"], f"{path}.httpGet.scheme")
    return errors
