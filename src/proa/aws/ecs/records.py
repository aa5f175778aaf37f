"""What ECS stores, as immutable structs: ``keys`` says where, ``tables`` how views see it.

Nested API structures (a task definition's
document, a network configuration, tags) are kept with their wire names: the gateway has checked
their shapes, and the answer gives them back unchanged. Records are replaced, never mutated: views
hold the very ones that were written here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from proa.aws.ecs.keys import (
    cluster_key,
    event_prefix,
    service_key,
    task_definition_key,
    task_key,
)
from proa.aws.ecs.names import arn
from proa.reconcile.told import Told
from proa.store.api import Put

R = TypeVar("R", bound=msgspec.Struct)
Document = dict[str, Any]
Tags = tuple[dict[str, str], ...]

# Statuses of a task that still holds or may get a place (AWS counts these as RUNNING + PENDING).
COUNTED = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING")
PENDING = ("PROVISIONING", "PENDING", "ACTIVATING")
EVENT_RING = 100
# Stop codes of tasks that may have failed: the others' ends were asked for, or came from outside.
TELLING = ("TaskFailedToStart", "EssentialContainerExited", "ServiceSchedulerInitiated")


class Cluster(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cluster; INACTIVE ones are kept so that DescribeClusters still knows them."""

    account: str
    region: str
    name: str
    status: str = "ACTIVE"
    created_at: float = 0.0
    settings: tuple[Document, ...] = ()
    configuration: Document | None = None
    capacity_providers: tuple[str, ...] = ()
    default_strategy: tuple[Document, ...] = ()
    service_connect: Document | None = None
    tags: Tags = ()

    @property
    def arn(self) -> str:
        return arn(self.account, self.region, "cluster", self.name)

    @property
    def key(self) -> str:
        return cluster_key(self.account, self.region, self.name)


class TaskDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One revision. ``document`` is the API's own structure with defaults filled in."""

    account: str
    region: str
    family: str
    revision: int
    document: Document
    status: str = "ACTIVE"
    registered_at: float = 0.0
    registered_by: str = ""
    deregistered_at: float = 0.0
    delete_requested_at: float = 0.0
    tags: Tags = ()

    @property
    def arn(self) -> str:
        return arn(self.account, self.region, "task-definition", f"{self.family}:{self.revision}")

    @property
    def key(self) -> str:
        return task_definition_key(self.account, self.region, self.family, self.revision)

    @property
    def network_mode(self) -> str:
        return str(self.document.get("networkMode") or "bridge")

    @property
    def containers(self) -> list[Document]:
        return list(self.document["containerDefinitions"])


class Family(msgspec.Struct, frozen=True, omit_defaults=True):
    """The highest revision a family ever had: numbers are never given out twice."""

    revision: int


class TaskContainer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task's container as DescribeTasks shows it."""

    id: str
    name: str
    image: str
    cpu: str = "0"
    memory: str = ""
    memory_reservation: str = ""
    essential: bool = True
    health_checked: bool = False
    restarts: bool = False
    last_status: str = "PENDING"
    exit_code: int | None = None
    reason: str = ""
    runtime_id: str = ""
    image_digest: str = ""
    health: str = "UNKNOWN"
    bindings: tuple[Document, ...] = ()
    address: ContainerAddress | None = None
    started_at: float = 0.0


class ContainerAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The address of a bridge task's container, behind its Instance; the API does not show it."""

    vpc: str
    address: str
    mac: str
    dns_server: str = ""


class TaskInterface(msgspec.Struct, frozen=True, omit_defaults=True):
    """The network interface an awsvpc task owns."""

    id: str
    attachment: str
    subnet: str
    zone: str
    vpc: str
    address: str
    mac: str = ""
    private_dns: str = ""
    public_address: str = ""
    dns_server: str = ""
    status: str = "PRECREATED"


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task. ``prepared`` once its log groups are known to exist; ``counted`` once its service
    has taken note of how it ended, where that may tell something of its deployment; ``changes``
    is the version that the API shows."""

    account: str
    region: str
    cluster: str
    id: str
    family: str
    revision: int
    launch_type: str
    cpu: str = ""
    memory: str = ""
    capacity_provider: str = ""
    platform_version: str = ""
    storage_gib: int = 0
    network_mode: str = "bridge"
    group: str = ""
    service: str = ""
    deployment: str = ""
    started_by: str = ""
    overrides: Document = {}
    tags: Tags = ()
    exec_enabled: bool = False
    strategy: tuple[tuple[str, str], ...] = ()
    constraints: tuple[tuple[str, str], ...] = ()
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    prepared: bool = False
    instance: str = ""
    zone: str = ""
    interface: TaskInterface | None = None
    containers: tuple[TaskContainer, ...] = ()
    health: str = "UNKNOWN"
    created_at: float = 0.0
    pull_started_at: float = 0.0
    pull_stopped_at: float = 0.0
    started_at: float = 0.0
    healthy_at: float = 0.0
    connected_at: float = 0.0
    stopping_at: float = 0.0
    execution_stopped_at: float = 0.0
    stopped_at: float = 0.0
    stop_code: str = ""
    stopped_reason: str = ""
    unplaced: tuple[str, ...] = ()
    unplaced_closest: str = ""
    counted: bool = False
    changes: int = 1

    @property
    def arn(self) -> str:
        return arn(self.account, self.region, "task", self.cluster, self.id)

    @property
    def key(self) -> str:
        return task_key(self.account, self.region, self.cluster, self.id)

    @property
    def definition_arn(self) -> str:
        return arn(self.account, self.region, "task-definition", f"{self.family}:{self.revision}")

    @property
    def address(self) -> str:
        """Where the task is reached, or its first container in bridge mode; empty for neither."""
        if self.interface is not None:
            return self.interface.address
        return next((item.address.address for item in self.containers if item.address), "")

    @property
    def service_key(self) -> str:
        """The key of the service that owns it; empty for a standalone task."""
        if not self.service:
            return ""
        return service_key(self.account, self.region, self.cluster, self.service)

    @property
    def is_unnoted(self) -> bool:
        """Whether its service has yet to take note of how it ended."""
        if self.counted or self.desired_status == "RUNNING" or not self.service:
            return False
        return self.stop_code in TELLING


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rollout of a service: what its tasks are launched from, and how far it is.

    ``failed_tasks`` is the API's consecutive count; ``streak`` counts failures since the last
    healthy task and drives the back-off that ends at ``hold_until``."""

    id: str
    family: str
    revision: int
    status: str = "PRIMARY"
    created_at: float = 0.0
    updated_at: float = 0.0
    launch_type: str = ""
    strategy: tuple[Document, ...] = ()
    platform_version: str = ""
    network: Document | None = None
    rollout_state: str = "IN_PROGRESS"
    rollout_reason: str = ""
    failed_tasks: int = 0
    streak: int = 0
    failed_at: float = 0.0
    hold_until: float = 0.0
    rollback: bool = False


class Service(msgspec.Struct, frozen=True, omit_defaults=True):
    """A service; its counts are derived from its tasks and never stored."""

    account: str
    region: str
    cluster: str
    name: str
    desired_count: int
    deployments: tuple[Deployment, ...]
    status: str = "ACTIVE"
    created_at: float = 0.0
    created_by: str = ""
    scheduling: str = "REPLICA"
    configuration: Document = {}
    launch_type: str = ""
    strategy: tuple[Document, ...] = ()
    platform_version: str = ""
    network: Document | None = None
    placement_strategy: tuple[Document, ...] = ()
    placement_constraints: tuple[Document, ...] = ()
    health_grace_s: int | None = None
    managed_tags: bool = False
    propagate_tags: str = "NONE"
    exec_enabled: bool = False
    rebalancing: str = "DISABLED"
    role_arn: str = ""
    tags: Tags = ()
    steady: bool = False
    last_completed: Deployment | None = None
    event_count: int = 0
    said: dict[str, float] = {}
    inactive_at: float = 0.0

    @property
    def arn(self) -> str:
        return arn(self.account, self.region, "service", self.cluster, self.name)

    @property
    def key(self) -> str:
        return service_key(self.account, self.region, self.cluster, self.name)

    @property
    def event_prefix(self) -> str:
        """Where its events lie."""
        return event_prefix(self.account, self.region, self.cluster, self.name)

    def event_key(self, serial: int) -> str:
        """The ring's slot of an event: serial modulo 100."""
        return f"{self.event_prefix}{serial % EVENT_RING:02d}"

    @property
    def primary(self) -> Deployment:
        """The newest deployment, the one the service moves to."""
        return self.deployments[0]


class ServiceEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a service's event stream; a ring of 100 keys holds the newest."""

    serial: int
    id: str
    created_at: float
    message: str


class InstanceNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ECS knows of a container instance besides the hull's Instance: custom attributes, tags,
    and how often the API has changed it."""

    instance: str
    attributes: dict[str, str] = {}
    tags: Tags = ()
    changes: int = 1


class PortClaim(msgspec.Struct, frozen=True):
    """A host port of an Instance that a task has; its key names the port."""

    task: str


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """A clientToken that was used: what was asked (digest) and what came of it."""

    digest: str
    arns: tuple[str, ...]
    at: float


class Setting(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account setting of one principal; ``principal`` empty is the account's default."""

    name: str
    value: str
    principal: str = ""


_encoder = msgspec.json.Encoder()


def _decoder(kind: type[R]) -> Callable[[bytes], R]:
    decoder = msgspec.json.Decoder(kind)

    def decode(body: bytes) -> R:
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error

    return decode


@cache
def stored(kind: type[R]) -> Told[R]:
    """What decodes the stored records of a kind."""
    return Told(_decoder(kind))


def put(key: str, record: msgspec.Struct) -> Put:
    """The write of one record."""
    body = _encoder.encode(record)
    stored(type(record)).tell(body, record)
    return Put(key, body)
