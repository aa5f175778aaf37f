"""The language of ``proa compare``: services, their load, and what is assumed of the cloud.

A file says what is asked for in either API's absence: so many requests a second over the day, and
how many one replica carries. ``read_question`` checks it before anything starts, and names a
mistake with its place. What the control plane decides is played; what the cloud would do (how long
a machine takes to boot, what a rent costs) is assumed, and stands in the file or here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from proa.base.errors import CallerFault
from proa.cloud.instance_types import InstanceType, instance_types
from proa.sim.crowd_behaviour import Amount, Curve, Spread
from proa.sim.plan import Span, seconds

Way = Literal["ecs-fargate", "ecs-ec2", "eks-nodes", "eks-fargate"]
WAYS: tuple[Way, ...] = ("ecs-fargate", "ecs-ec2", "eks-nodes", "eks-fargate")
MAX_REPLICAS = 5_000  # ECS: tasks in a service


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)


class ServicePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service of replicas of one size. ``load`` is requests per second over the day, of which a
    replica carries ``per_replica``; without a load there are ``min`` replicas. ``copies`` makes
    several alike, named with a number."""

    name: str
    vcpu: float
    memory_mib: int
    min: int = 1
    max: int = MAX_REPLICAS
    load: Curve | None = None
    per_replica: float = 0.0
    copies: int = 1
    ready_s: Amount = Spread(lognormal=(3.0, 8.0))
    image_s: Amount = Spread(lognormal=(6.0, 15.0))

    def __post_init__(self) -> None:
        _require(self.vcpu > 0 and self.memory_mib > 0, "vcpu and memory_mib are above 0")
        _require(0 <= self.min <= self.max <= MAX_REPLICAS, f"0 ≤ min ≤ max ≤ {MAX_REPLICAS:,}")
        _require(self.copies >= 1, "copies is at least 1")
        _require(self.load is None or self.per_replica > 0, "a load needs per_replica above 0")

    @property
    def names(self) -> tuple[str, ...]:
        """One for each copy."""
        if self.copies == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.copies + 1))

    def replicas(self, at_s: float) -> int:
        """What its load asks for at an instant."""
        if self.load is None:
            return self.min
        wanted = math.ceil(self.load.at(at_s) / self.per_replica)
        return max(self.min, min(self.max, wanted))


class NodesPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The machines of the ways that have any, all of one type. They are rented as soon as replicas
    wait for room, and given back after ``idle_s`` without any. ``kept_share`` of a machine's
    memory is the hypervisor's and the kernel's; ``daemons_vcpu`` is what a Kubernetes node's own
    pods reserve."""

    type: str = "m5.large"
    min: int = 0
    max: int = 1_000
    boot_s: Amount = Spread(lognormal=(60.0, 110.0))
    idle_s: Span = "10m"
    kept_share: float = 0.075
    daemons_vcpu: float = 0.15

    def __post_init__(self) -> None:
        _require(self.type in instance_types(), f"there is no instance type {self.type!r}")
        _require(0 <= self.min <= self.max, "0 ≤ min ≤ max")
        _require(0 <= self.kept_share < 1 and self.daemons_vcpu >= 0, "shares are 0 to 1")
        seconds(self.idle_s)

    @property
    def facts(self) -> InstanceType:
        return instance_types()[self.type]


class FargatePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``start_s`` passes before a task's or pod's image is pulled: a micro machine is made for it.
    Kubernetes' own parts take ``pod_overhead_mib`` of a pod's machine (EKS guide, Fargate)."""

    start_s: Amount = Spread(lognormal=(20.0, 40.0))
    pod_overhead_mib: int = 256


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file. Scaling looks at the load every ``scale_every`` and takes replicas away only
    when fewer were enough for ``scale_in_after``, as both APIs' autoscalers do by default."""

    services: tuple[ServicePart, ...]
    name: str = ""
    lasts: Span = "24h"
    ways: tuple[Way, ...] = WAYS
    purchase: str = "on-demand"
    nodes: NodesPart = NodesPart()
    fargate: FargatePart = FargatePart()
    scale_every: Span = "60s"
    scale_in_after: Span = "5m"

    def __post_init__(self) -> None:
        _require(0 < seconds(self.lasts) <= 31 * 86_400, "lasts is up to 31 days")
        _require(bool(self.services) and bool(self.ways), "there is a service, and a way to run it")
        names = [name for service in self.services for name in service.names]
        _require(len(set(names)) == len(names), "two services have one name")
        _require(seconds(self.scale_every) > 0, "scale_every is above 0")
        seconds(self.scale_in_after)


def read_question(text: str, name: str) -> Question:
    """A file's content. Raises CallerFault that names the place and what is wrong there."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallerFault(f"{name}: no YAML: {error}") from error
    if not isinstance(content, dict):
        raise CallerFault(f"{name}: a workload is a mapping")
    try:
        return msgspec.convert({"name": name, **content}, Question)
    except msgspec.ValidationError as error:
        raise CallerFault(f"{name}: {error}") from error


def load_question(path: Path) -> Question:
    """Read a workload's file; see ``read_question``."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerFault(f"{path}: {error}") from error
    return read_question(text, path.stem)
