"""Hosts and Instances: the records under ``/hull/hosts/`` and ``/hull/instances/``.

The default local Instance of a cluster is shared: it draws on the Host's Pool with every other
shared Instance. A Fargate Instance is made for one Sandbox when that is bound and removed when
nothing of the Sandbox is left.
"""

from __future__ import annotations

import hashlib

import msgspec

from proa.model.host import Host, Instance
from proa.model.resources import Resources
from proa.reconcile.view import Table, View
from proa.store.api import Put

HOST_PREFIX = "/hull/hosts/"
INSTANCE_PREFIX = "/hull/instances/"
SANDBOXES_PER_INSTANCE = 110  # Kubernetes' default of pods a node
LOCAL_TYPE = "proa.local"  # of an Instance whose Host names none

_host = msgspec.json.Decoder(Host)
_instance = msgspec.json.Decoder(Instance)
encode = msgspec.json.Encoder().encode

HOSTS: Table[Host] = Table("hosts", HOST_PREFIX, _host.decode)
INSTANCES: Table[Instance] = Table(
    "instances",
    INSTANCE_PREFIX,
    _instance.decode,
    indexes={
        "host": lambda _key, instance: (instance.host,),
        "cluster": lambda _key, instance: (instance.cluster,),
        "name": lambda _key, instance: (f"{instance.cluster}{instance.name}",),
        "draining": lambda _key, instance: ("yes",) if instance.state == "draining" else (),
        "real": lambda _key, instance: () if instance.simulated else (instance.cluster,),
    },
)


def host_key(host: str) -> str:
    """The key of a Host's record."""
    return HOST_PREFIX + host


def instance_key(instance: str) -> str:
    """The key of an Instance's record."""
    return INSTANCE_PREFIX + instance


def instance_id(*parts: str) -> str:
    """A stable EC2-style id for an Instance that is known by other names."""
    return "i-" + hashlib.sha256("/".join(parts).encode()).hexdigest()[:17]


def private_name(address: str, region: str) -> str:
    """The private DNS name of an address, as EC2 gives it (ip-10-0-0-1.ec2.internal)."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"


def local_instance(host: Host, cluster: str, *, zone: str, subnet: str, address: str, region: str,
                   now: float) -> Instance:  # fmt: skip
    """The shared Instance that a Host offers to a cluster."""
    capacity = Resources(
        host.pool.cpu,
        host.pool.memory,
        host.pool.disk,
        host.pool.sandboxes or SANDBOXES_PER_INSTANCE,
    )
    return Instance(
        id=instance_id(host.id, cluster),
        host=host.id,
        cluster=cluster,
        zone=zone,
        subnet=subnet,
        address=address,
        name=private_name(address, region),
        capacity=capacity,
        created_at=now,
        simulated=host.simulated,
        type=host.type or LOCAL_TYPE,
    )


def fargate_instance(uid: str, host: str, cluster: str, zone: str, reserve: Resources,
                     now: float) -> Instance:  # fmt: skip
    """The micro-slice of a Host that one Fargate Sandbox gets."""
    return Instance(
        id=instance_id("fargate", uid),
        host=host,
        cluster=cluster,
        shared=False,
        purchase="fargate",
        type="fargate",
        zone=zone,
        capacity=Resources(reserve.cpu, reserve.memory, reserve.disk, 1),
        created_at=now,
    )


def put_instance(instance: Instance) -> Put:
    """The write that stores an Instance."""
    return Put(instance_key(instance.id), encode(instance))


def put_host(host: Host) -> Put:
    """The write that stores a Host."""
    return Put(host_key(host.id), encode(host))


def instance_of(view: View, id: str) -> Instance | None:
    """An Instance by its id."""
    entry = view.rows(INSTANCES).get(instance_key(id))
    return entry.value if entry else None


def instances_on(view: View, host: str) -> list[Instance]:
    """The Instances cut from a Host."""
    return [entry.value for entry in view.rows(INSTANCES).by("host", host)]


def instances_of(view: View, cluster: str) -> list[Instance]:
    """The Instances of the cluster with this key prefix."""
    return [entry.value for entry in view.rows(INSTANCES).by("cluster", cluster)]


def draining_instances(view: View) -> dict[str, None]:
    """The ids of the Instances that are to lose what runs on them."""
    return {entry.value.id: None for entry in view.rows(INSTANCES).by("draining", "yes")}


def real_instances_of(view: View, cluster: str) -> list[Instance]:
    """Those of them that are not simulated, which are few however many there are."""
    return [entry.value for entry in view.rows(INSTANCES).by("real", cluster)]
