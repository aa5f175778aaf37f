"""Ports of nodes that lead to pods: what of a pod decides over them, as a table of its own.

Traffic follows this table and not the pods', because a pod changes often and its host ports
hardly ever: the feed passes over changes after which a row is the same. Rules: the kubelet's
hostPort, as the CNI plugin portmap does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from proa.kube.decoding import decoder
from proa.kube.objects import Pod

_pod = decoder(Pod)


class HostPort(NamedTuple):
    """``number`` of the node leads to ``inside`` of the pod."""

    number: int
    protocol: str
    inside: int
    address: str  # of the node it is taken at; "": every one


class HostPorts(NamedTuple):
    """The host ports of one pod, of which there are some."""

    node: str
    address: str
    ports: tuple[HostPort, ...]


def decode_host_ports(body: bytes) -> HostPorts | None:
    """The host ports in a stored pod; None if there are none, or while it has no address, or once
    it has ended. Raises ValueError."""
    if b"hostPort" not in body:
        return None
    pod = _pod(body)
    if pod.spec.host_network or pod.terminal or not pod.status.pod_ip:
        return None
    ports = tuple(_ports(pod))
    return HostPorts(pod.spec.node_name, pod.status.pod_ip, ports) if ports else None


def _ports(pod: Pod) -> Iterator[HostPort]:
    sidecars = [item for item in pod.spec.init_containers if item.restart_policy == "Always"]
    for container in (*sidecars, *pod.spec.containers):
        for port in container.ports:
            if port.host_port:
                address = "" if port.host_ip in ("0.0.0.0", "::") else port.host_ip
                yield HostPort(port.host_port, port.protocol.lower(), port.container_port, address)
