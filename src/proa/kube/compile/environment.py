"""A container's environment: values, references, fields, service variables, $(VAR) expansion.

Rules: "Define Environment Variables for a Container", "Downward API", "Discovering services".
Later variables win over earlier ones, ``env`` over ``envFrom``, both over service variables.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from proa.base.quantity import bytes_of, cpu_of, parse_quantity
from proa.kube.compile.sources import Json, Missing, Sources
from proa.kube.objects import Service

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


def environment(pod: Json, container: Json, sources: Sources) -> dict[str, str]:
    """Names to values. Raises Missing for what a non-optional reference does not find."""
    services = service_variables(pod, sources)
    own: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        own.update(_from(source, sources))
    for variable in container.get("env") or ():
        if variable.get("value"):
            value: str | None = expand(variable["value"], {**services, **own})
        elif variable.get("valueFrom"):
            value = _value(variable["valueFrom"], pod, container, sources)
        else:
            value = ""
        if value is not None:
            own[variable["name"]] = value
    return {**services, **own}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace $(NAME); one that is not known stays as it is, $$ is a dollar."""

    def replaced(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replaced, text)


def references(text: str) -> list[str]:
    """The names that ``text`` refers to as $(NAME)."""
    return [found.group(1) for found in _REFERENCE.finditer(text) if found.group(0) != "$$"]


def _from(source: Json, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    reference = source.get("configMapRef")
    if reference is not None:
        found = config_map_data(reference, sources)
    else:
        reference = source.get("secretRef") or {}
        found = secret_data(reference, sources)
    values: dict[str, str] = {}
    for key in sorted(found):
        try:
            values[prefix + key] = found[key].decode()
        except UnicodeDecodeError:
            continue  # a variable cannot hold it; volumes can
    return {name: value for name, value in values.items() if name and "=" not in name}


def config_map_data(reference: Json, sources: Sources) -> dict[str, bytes]:
    """Every key of a ConfigMap; none for an optional one that is not there. Raises Missing."""
    found = sources.config_maps(reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise Missing(f'configmap "{reference["name"]}" not found')
    text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    binary = {
        key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()
    }
    return {**text, **binary}


def secret_data(reference: Json, sources: Sources) -> dict[str, bytes]:
    """Every key of a Secret; none for an optional one that is not there. Raises Missing."""
    name = reference.get("name") or reference.get("secretName") or ""
    found = sources.secrets(name)
    if found is None:
        if reference.get("optional"):
            return {}
        raise Missing(f'secret "{name}" not found')
    return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


def _value(source: Json, pod: Json, container: Json, sources: Sources) -> str | None:
    """The value of ``valueFrom``; None where an optional key is not there."""
    if "fieldRef" in source:
        return field_value(source["fieldRef"]["fieldPath"], pod, sources)
    if "resourceFieldRef" in source:
        return resource_value(source["resourceFieldRef"], pod, container, sources)
    if "configMapKeyRef" in source:
        reference, kind = source["configMapKeyRef"], "ConfigMap"
        found = config_map_data(reference, sources)
    elif "secretKeyRef" in source:
        reference, kind = source["secretKeyRef"], "Secret"
        found = secret_data(reference, sources)
    else:
        raise Missing(f"unsupported source of a variable: {', '.join(source)}")
    if reference["key"] in found:
        return found[reference["key"]].decode(errors="replace")
    if reference.get("optional"):
        return None
    where = f"{pod['metadata'].get('namespace', '')}/{reference['name']}"
    raise Missing(f"couldn't find key {reference['key']} in {kind} {where}")


def field_value(path: str, pod: Json, sources: Sources) -> str:
    """The value of a field as the downward API gives it. Raises Missing for an unknown field."""
    meta, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        part, key = subscript.groups()
        return str((meta.get(part) or {}).get(key, ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = meta.get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={_quoted(values[key])}" for key in sorted(values))
    if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
        return str(meta.get(path.partition(".")[2], ""))
    address = sources.host_address if spec.get("hostNetwork") else sources.address
    fields = {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": sources.host_address,
        "status.hostIPs": sources.host_address,
        "status.podIP": address,
        "status.podIPs": address,
    }
    if path not in fields:
        raise Missing(f"unsupported fieldPath: {path}")
    return str(fields[path])


def _quoted(text: str) -> str:
    """A Go-quoted string, as labels and annotations are written to files."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + plain.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def resource_value(reference: Json, pod: Json, container: Json, sources: Sources) -> str:
    """A container's request or limit in units of ``divisor``, rounded up; an absent limit is what
    the node can give."""
    name = reference.get("containerName") or container.get("name")
    every = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    found = next((item for item in every if item["name"] == name), None)
    if found is None:
        raise Missing(f"container {name} not found")
    which, _, resource = reference["resource"].partition(".")
    lists = found.get("resources") or {}
    quantity = (lists.get(which) or {}).get(resource)
    if quantity is None and which == "requests":
        quantity = (lists.get("limits") or {}).get(resource, 0)
    if quantity is None:
        quantity = sources.allocatable.get(resource, 0)
    divisor = reference.get("divisor") or "1"
    if parse_quantity(divisor) == 0:
        divisor = "1"
    if resource == "cpu":
        amount, unit = cpu_of(quantity), max(1, cpu_of(divisor))
    else:
        amount, unit = bytes_of(quantity), max(1, bytes_of(divisor))
    return str(-(-amount // unit))


def service_variables(pod: Json, sources: Sources) -> dict[str, str]:
    """Variables for the namespace's services (unless enableServiceLinks is false) and always for
    the API's own."""
    wanted = {service.metadata.name: service for service in sources.services}
    if pod["spec"].get("enableServiceLinks") is False:
        wanted = {}
    if sources.master is not None:
        wanted.setdefault(sources.master.metadata.name, sources.master)
    values: dict[str, str] = {}
    for name in sorted(wanted):
        values.update(_service_links(wanted[name]))
    return values


def _service_links(service: Service) -> dict[str, str]:
    address, ports = service.spec.cluster_ip, service.spec.ports
    if not address or address == "None" or not ports:
        return {}
    prefix = _variable(service.metadata.name)
    values = {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(ports[0].port),
        f"{prefix}_PORT": f"{ports[0].protocol.lower()}://{address}:{ports[0].port}",
    }
    for port in ports:
        if port.name:
            values[f"{prefix}_SERVICE_PORT_{_variable(port.name)}"] = str(port.port)
        protocol = port.protocol.lower()
        link = f"{prefix}_PORT_{port.port}_{port.protocol}"
        values[link] = f"{protocol}://{address}:{port.port}"
        values[f"{link}_PROTO"] = protocol
        values[f"{link}_PORT"] = str(port.port)
        values[f"{link}_ADDR"] = address
    return values


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
