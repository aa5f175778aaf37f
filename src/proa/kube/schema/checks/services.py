"""Services and Ingresses."""

from __future__ import annotations

from proa.kube.schema.checks.basics import (
    JSON,
    Errors,
    check_labels,
    in_range,
    one_of,
    unique,
)
from proa.kube.schema.checks.containers import HIGHEST_PORT, PROTOCOLS, check_port_reference
from proa.kube.schema.errors import duplicate, forbidden, invalid, required
from proa.kube.schema.names import label_faults, subdomain_faults

_TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
_PATH_TYPES = ["Exact", "ImplementationSpecific", "Prefix"]


def check_service(service: JSON) -> Errors:
    spec = service.get("spec", {})
    kind, ports = spec.get("type"), spec.get("ports", [])
    errors: Errors = []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if kind == "ExternalName" and not spec.get("externalName"):
        errors.append(required("spec.externalName"))
    if headless and kind in ("NodePort", "LoadBalancer"):
        detail = f"may not be set to 'None' for {kind} services"
        errors.append(invalid("spec.clusterIPs[0]", "None", detail))
    errors += _check_ports(ports, kind in ("NodePort", "LoadBalancer"), str(kind))
    errors += check_labels(spec.get("selector"), "spec.selector")
    errors += one_of(spec.get("sessionAffinity"), ["ClientIP", "None"], "spec.sessionAffinity")
    errors += one_of(kind, _TYPES, "spec.type")
    for name in ("externalTrafficPolicy", "internalTrafficPolicy"):
        errors += one_of(spec.get(name), ["Cluster", "Local"], f"spec.{name}")
    return errors


def _check_ports(ports: list[JSON], on_nodes: bool, kind: str) -> Errors:
    errors = unique([port.get("name") for port in ports], lambda i: f"spec.ports[{i}].name")
    seen: list[tuple[object, object]] = []
    for index, port in enumerate(ports):
        at, name = f"spec.ports[{index}]", port.get("name", "")
        if len(ports) > 1 and not name:
            errors.append(required(f"{at}.name"))
        if name:
            errors += [invalid(f"{at}.name", name, fault) for fault in label_faults(name)]
        number = port.get("port", 0)
        errors += in_range(number, 1, HIGHEST_PORT, f"{at}.port")
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{at}.protocol")
        errors += check_port_reference(port.get("targetPort", number), f"{at}.targetPort")
        if port.get("nodePort") and not on_nodes:
            detail = f"may not be used when `type` is '{kind}'"
            errors.append(forbidden(f"{at}.nodePort", detail))
        both = (port.get("protocol"), number)
        if both in seen:
            errors.append(duplicate(at, {"port": number, "protocol": port.get("protocol")}))
        seen.append(both)
    return errors


def check_service_update(old: JSON, new: JSON) -> Errors:
    """A service keeps its address for as long as it has one."""
    before, after = old.get("spec", {}), new.get("spec", {})
    if "ExternalName" in (before.get("type"), after.get("type")):
        return []
    given, wanted = before.get("clusterIP"), after.get("clusterIP")
    if given and wanted != given:
        shown = [wanted] if wanted else []
        return [invalid("spec.clusterIPs[0]", shown, "may not change once set")]
    return []


def check_ingress(ingress: JSON) -> Errors:
    spec = ingress.get("spec", {})
    errors: Errors = []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(invalid("spec", spec, detail))
    if backend := spec.get("defaultBackend"):
        errors += _check_backend(backend, "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules", ())):
        at, host = f"spec.rules[{index}]", rule.get("host", "")
        if host:
            plain = host.removeprefix("*.")
            errors += [invalid(f"{at}.host", host, fault) for fault in subdomain_faults(plain)]
        for number, path in enumerate((rule.get("http") or {}).get("paths", ())):
            errors += _check_path(path, f"{at}.http.paths[{number}]")
    return errors


def _check_path(path: JSON, at: str) -> Errors:
    kind, text = path.get("pathType"), path.get("path", "")
    errors: Errors = []
    if not kind:
        errors.append(required(f"{at}.pathType", "pathType must be specified"))
    errors += one_of(kind, _PATH_TYPES, f"{at}.pathType")
    if kind in ("Exact", "Prefix") and not text.startswith("/"):
        errors.append(invalid(f"{at}.path", text, "must be an absolute path"))
    return errors + _check_backend(path.get("backend", {}), f"{at}.backend")


def _check_backend(backend: JSON, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        detail = "cannot set both resource and service backends"
        return [invalid(path, "", detail)]
    if service is None and resource is None:
        return [required(path, "resource or service backend is required")]
    if service is None:
        return []
    errors: Errors = []
    if not service.get("name"):
        errors.append(required(f"{path}.service.name"))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        detail = "cannot set both port name & port number"
        errors.append(invalid(f"{path}.service.port", "", detail))
    elif not port.get("name") and not port.get("number"):
        errors.append(required(f"{path}.service.port", "port name or number is required"))
    return errors
