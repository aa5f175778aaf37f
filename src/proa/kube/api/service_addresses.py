"""What Services hold of their cluster: virtual addresses, and ports of its nodes.

Called by admission. Each address and port is a key of its own that is written with the Service,
so that two can never hold the same one, and goes with it or with the change that gives it up.
Rules: "Service ClusterIP allocation" (KEP-3070), "Type: NodePort".
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import orjson
from msgspec import Struct

from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json
from proa.kube.api.failures import invalid
from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Resource
from proa.store.api import Delete, Exists, Guard, Put

NODE_PORTS = range(30000, 32768)
_OUTSIDE = ("NodePort", "LoadBalancer")


class Admitted(Struct, frozen=True):
    """What must hold and be written along with an object."""

    guards: tuple[Guard | Exists, ...] = ()
    writes: tuple[Put | Delete, ...] = ()


def admitted(api: Api, resource: Resource, obj: Json, old: Json | None) -> Admitted:
    """Give a Service the address and the ports it names, or free ones; take back what its change
    gives up. Mutates ``obj``. Raises ApiError."""
    spec = obj.setdefault("spec", {})
    if old is not None:
        _keep(spec, old.get("spec") or {})
    before = _keys(api, old)
    _cluster_ip(api, resource, obj, before)
    _node_ports(api, resource, obj, old)
    after = _keys(api, obj)
    owner = f"{obj['metadata'].get('namespace')}/{obj['metadata']['name']}".encode()
    new, gone = [key for key in after if key not in before], [key for key in before
                                                              if key not in after]  # fmt: skip
    puts = (Put(key, owner) for key in new)
    return Admitted(tuple(Guard(key, 0) for key in new), (*puts, *(Delete(key) for key in gone)))


def released(api: Api, obj: Json) -> tuple[Delete, ...]:
    """The writes that give back all that a Service held."""
    return tuple(Delete(key) for key in _keys(api, obj))


def _keys(api: Api, obj: Json | None) -> list[str]:
    """The keys of what a Service holds, each once."""
    spec: dict[str, Any] = (obj or {}).get("spec") or {}
    held = [("clusterip", address) for address in spec.get("clusterIPs") or ()]
    held += [("nodeport", port.get("nodePort")) for port in spec.get("ports") or ()]
    keys = (
        f"/kubealloc/{api.cluster.uid}/{kind}/{what}"
        for kind, what in held
        if what and what != "None"
    )
    return list(dict.fromkeys(keys))


def _keep(spec: Json, before: Json) -> None:
    """An update that does not speak of an address or a port keeps it."""
    if spec.get("type") != "ExternalName":
        for name in ("clusterIP", "clusterIPs"):
            if not spec.get(name) and before.get(name):
                spec[name] = before[name]
    if spec.get("type") in _OUTSIDE:
        known = {_port_key(port): port for port in before.get("ports") or ()}
        for port in spec.get("ports") or []:
            same = known.get(_port_key(port))
            if same and same.get("nodePort") and not port.get("nodePort"):
                port["nodePort"] = same["nodePort"]


def _port_key(port: Json) -> tuple[Any, ...]:
    return (port.get("port"), port.get("protocol", "TCP"))


# Virtual addresses


def _cluster_ip(api: Api, resource: Resource, obj: Json, held: Iterable[str]) -> None:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(name, None)
        return
    if spec.get("clusterIP") == "None":
        spec["clusterIPs"] = ["None"]
        return
    range_ = IPv4Network(api.cluster.service_cidr)
    used = _used_addresses(api)
    wanted = spec.get("clusterIP")
    if not wanted:
        wanted = _free_address(api, range_, used)
    elif not any(key.endswith(f"/clusterip/{wanted}") for key in held):
        _check_address(resource, obj, wanted, range_, used)
    spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")


def _check_address(
    resource: Resource, obj: Json, wanted: str, range_: IPv4Network, used: set[str]
) -> None:
    try:
        inside = IPv4Address(wanted) in range_
    except ValueError:
        inside = False
    why = "" if inside else "the provided IP is not in the valid range"
    if wanted in used:
        why = "provided IP is already allocated"
    if why:
        detail = f"failed to allocate IP {wanted}: {why}"
        error = FieldError("FieldValueInvalid", "spec.clusterIPs", detail, [wanted])
        raise invalid(resource, obj["metadata"]["name"], [error])


def _specs(api: Api) -> list[Json]:
    services = api.builtin("", "services")
    return [orjson.loads(entry.body).get("spec") or {} for entry in api.entries(services)]


def _used_addresses(api: Api) -> set[str]:
    return {address for spec in _specs(api) for address in spec.get("clusterIPs") or ()}


def _free_address(api: Api, range_: IPv4Network, used: set[str]) -> str:
    """Drawn from the upper part of the range first: the lowest addresses are for those who ask
    for them by number (KEP-3070)."""
    size = range_.num_addresses
    reserved = min(max(16, size // 16), 256)
    base = int(range_.network_address)
    start = api.chance.integer(reserved, size - 2)
    for step in range(size):
        number = reserved + (start - reserved + step) % (size - 1 - reserved)
        address = str(IPv4Address(base + number))
        if address not in used:
            return address
    raise ApiError(500, "InternalError", "failed to allocate a serviceIP: range is full")


# Node ports


def _node_ports(api: Api, resource: Resource, obj: Json, old: Json | None) -> None:
    spec = obj["spec"]
    ports = spec.get("ports") or []
    balanced = spec.get("type") == "LoadBalancer"
    if spec.get("type") not in _OUTSIDE:
        for port in ports:
            port.pop("nodePort", None)
        return
    used = {port["nodePort"] for one in _specs(api) for port in one.get("ports") or ()
            if port.get("nodePort")}  # fmt: skip
    used -= {port.get("nodePort") for port in ((old or {}).get("spec") or {}).get("ports") or ()}
    for number, port in enumerate(ports):
        if port.get("nodePort"):
            _check_node_port(resource, obj, number, port["nodePort"], used)
    mine = {port["nodePort"] for port in ports if port.get("nodePort")}
    if balanced and spec.get("allocateLoadBalancerNodePorts") is False:
        return
    for port in ports:
        if not port.get("nodePort"):
            port["nodePort"] = _free_port(api, used | mine)
            mine.add(port["nodePort"])


def _check_node_port(
    resource: Resource, obj: Json, place: int, wanted: int, used: set[int]
) -> None:
    """The same port may serve one Service over two protocols, but not two Services."""
    detail = ""
    if wanted not in NODE_PORTS:
        detail = (
            "provided port is not in the valid range. The range of valid ports is "
            f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
        )
    elif wanted in used:
        detail = "provided port is already allocated"
    if detail:
        error = FieldError("FieldValueInvalid", f"spec.ports[{place}].nodePort", detail, wanted)
        raise invalid(resource, obj["metadata"]["name"], [error])


def _free_port(api: Api, used: set[int]) -> int:
    start = api.chance.integer(0, len(NODE_PORTS) - 1)
    for step in range(len(NODE_PORTS)):
        number = NODE_PORTS[(start + step) % len(NODE_PORTS)]
        if number not in used:
            return number
    raise ApiError(500, "InternalError", "failed to allocate a nodePort: range is full")
