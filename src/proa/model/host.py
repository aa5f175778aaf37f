"""Hosts, Pools and Instances: the machines, what they hold, and their schedulable slices.

Stored by ``cloud.compute`` under ``/hull/hosts/`` and ``/hull/instances/``.
"""

from __future__ import annotations

import msgspec

from proa.model.resources import Resources


class Host(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine that runs the node agent. ``pool`` is physical × overcommit, less reserves;
    ``physical`` is what the machine really has. A ``simulated`` one is not there: no packet ever
    comes from it or goes to it.

    ``clusters`` are those that get an Instance of it ("ecs/NAME", "eks/NAME"); empty: the default
    ECS cluster and every Kubernetes cluster. ``labels`` and ``taints`` (key, value, effect) are
    its Nodes'. ``agent`` is the socket of its agent's own API; empty: this machine's agent."""

    id: str
    hostname: str = ""
    physical: Resources = Resources()
    pool: Resources = Resources()
    kernel: str = ""
    os_image: str = ""
    architecture: str = "amd64"
    runtime_version: str = ""
    boot_id: str = ""
    machine_id: str = ""
    seen_at: float = 0.0  # the agent's last heartbeat, wall time
    simulated: bool = False
    zone: str = ""  # empty: the first zone there is
    type: str = ""  # of its Instances; empty: proa.local
    clusters: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = ()
    agent: str = ""


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedulable slice of a Host that belongs to one cluster of one bow.

    ``cluster`` is the cluster's key prefix ("/kube/<uid>/" or
    "/aws/<account>/<region>/ecs/cluster/<name>"). A ``shared`` Instance draws on the Host's
    Pool together with the Host's other shared Instances; a dedicated one holds ``capacity``
    of its own, taken out of that Pool. A Fargate Instance holds one Sandbox. A ``simulated`` one
    is of a simulated Host: rules and routes leave it out."""

    id: str  # "i-0123456789abcdef0"
    host: str
    cluster: str
    shared: bool = True
    purchase: str = "on-demand"  # "spot", "fargate"
    type: str = "proa.local"
    zone: str = "us-east-1a"
    subnet: str = ""
    address: str = ""
    name: str = ""  # "ip-172-31-0-10.ec2.internal": the Node's name
    capacity: Resources = Resources()
    state: str = "active"
    created_at: float = 0.0
    simulated: bool = False
