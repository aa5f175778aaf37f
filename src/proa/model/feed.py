"""What the control plane and an agent say to each other, as tagged messages.

Down (control plane → agent), after a connect: every current ``Assign`` and the current
``Rules`` and ``Zones``, then ``Synced``, then changes as they come. Up (agent → control
plane): ``Report``s and ``LogBatch``es, acknowledged by the call's return.
"""

from __future__ import annotations

import msgspec

from proa.model.host import Host, Instance
from proa.model.sandbox import Assignment, NodeEvent, SandboxStatus


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place where a VIP's traffic goes."""

    address: str
    port: int


class Vip(msgspec.Struct, frozen=True, omit_defaults=True):
    """One port of one virtual address. Without endpoints, connections are refused."""

    vpc: str
    address: str
    port: int
    protocol: str = "tcp"
    endpoints: tuple[Endpoint, ...] = ()
    affinity_s: int = 0  # ClientIP affinity; 0: none


class ZoneRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A DNS name and its answers; ``type`` A, SRV ("priority weight port target"), PTR, CNAME.
    ``server`` is the DNS address that alone gives them: clusters have names of their own."""

    name: str  # lower case, without the final dot
    type: str
    values: tuple[str, ...]
    ttl_s: int = 5
    server: str = ""  # empty: every one


class Assign(msgspec.Struct, frozen=True, tag="assign"):
    assignment: Assignment


class Rules(msgspec.Struct, frozen=True, tag="rules"):
    """The whole VIP table of every VPC that has Sandboxes on this Host."""

    vips: tuple[Vip, ...] = ()


class Zones(msgspec.Struct, frozen=True, tag="zones"):
    """Every name the Host's DNS server answers for. ``origins`` are the suffixes Proa is
    authoritative for: a name below one that is not listed does not exist."""

    records: tuple[ZoneRecord, ...] = ()
    origins: tuple[str, ...] = ("cluster.local",)


class ServiceRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """The virtual addresses of one cluster in a VPC, where its name server answers, and the port
    of the Host at which its API listens. The ranges of all clusters are apart."""

    vpc: str
    cidr: str
    dns: str
    port: int = 0


class VpcRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A VPC that has Sandboxes on this Host: its address ranges, the ranges of its virtual
    addresses, the addresses at which its DNS server answers, and the TCP ports of the Host that no
    workload may publish. The Host itself can reach the ranges of the first VPC, and of each
    further one that overlaps with none before it."""

    id: str
    cidrs: tuple[str, ...]
    services: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    reserved: tuple[int, ...] = ()


class Instances(msgspec.Struct, frozen=True, tag="instances"):
    """The Host's Pool and the Instances cut from it, for admission and addressing."""

    host: Host
    instances: tuple[Instance, ...] = ()
    vpcs: tuple[VpcRange, ...] = ()  # empty: the agent knows of the default VPC only


class Synced(msgspec.Struct, frozen=True, tag="synced"):
    """All that was assigned before the connect has been sent: what is not among it is gone."""


Down = Assign | Rules | Zones | Instances | Synced


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """A batch of news from one agent."""

    host: str
    statuses: tuple[SandboxStatus, ...] = ()
    events: tuple[NodeEvent, ...] = ()


class LogLine(msgspec.Struct, frozen=True):
    """One line of a container's output; ``at`` in milliseconds since the epoch."""

    at: int
    message: str


class LogBatch(msgspec.Struct, frozen=True):
    """Lines for one log stream, in order. ``first`` is the byte offset in the container's log
    file of the first line: the receiver drops what it has already stored for this source."""

    account: str
    region: str
    group: str
    stream: str
    source: str  # uid/container/attempt
    first: int
    lines: tuple[LogLine, ...]


class Hello(msgspec.Struct, frozen=True):
    """The agent's introduction: what the Host is and has."""

    host: Host
