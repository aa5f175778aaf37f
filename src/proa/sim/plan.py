"""The language of large scenarios: hosts, workloads, load, changes, churn, faults, measures.

``scenarios/*.yaml`` are written in it, ``large`` plays them. A plan of several regions says of each
what it says of all, and what it says of that one alone; ``Plan.of`` is one region's own plan. A
file is checked before anything starts, and a mistake is named with its place. Spans of time are
seconds, or texts such as "90s", "30m", "6h", "1h30m". Small scripted histories have a language of
their own, see ``scenario``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import yaml
from msgspec.structs import replace

from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.sim.crowd_behaviour import Curve, Manner

Span = float | str
_PARTS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")
MIB = 1024 * 1024
CPU_UNITS = 128_000
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]+")
MAX_HOSTS, MAX_REPLICAS = 100_000, 1_000_000
HOME = Config().region


def seconds(span: Span) -> float:
    """A span of time; raises ValueError."""
    if isinstance(span, (int, float)):
        return float(span)
    match = _PARTS.fullmatch(span)
    if not span or match is None:
        raise ValueError(f"{span!r} is no span of time, such as 90, 30m or 1h30m")
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)


def _check_name(name: str) -> None:
    _require(bool(_NAME.fullmatch(name)), f"{name!r} is no name: small letters, digits, hyphens")


class HostsPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``count`` machines of one size, in each region or in ``region``; zones take turns, and may
    be named by their letter."""

    count: int
    vcpu: float
    memory_mib: int
    disk_gib: int = 100
    pods: int = 110
    name: str = "node"
    type: str = ""
    zones: tuple[str, ...] = ("a",)
    region: str = ""

    def __post_init__(self) -> None:
        _require(1 <= self.count <= MAX_HOSTS, f"count is 1 to {MAX_HOSTS:,}")
        _require(self.vcpu > 0 and self.memory_mib > 0, "a host has vcpu and memory_mib above 0")
        _require(bool(self.zones), "a host is in some zone")
        _check_name(self.name)


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Replicas of one image. ``kind``: deployment and job (Kubernetes), service and task (ECS).
    ``copies`` makes several, named with a number. Jobs and tasks are started ``replicas`` at a
    time, every ``every``. ``probe_s`` gives a readiness probe, or an ECS health check, with that
    period; ``expose`` a Service in front of a Deployment."""

    name: str
    kind: Literal["deployment", "job", "service", "task"]
    replicas: int
    image: str
    copies: int = 1
    vcpu: float = 0.25
    memory_mib: int = 256
    at: Span = 0.0
    every: Span = 0.0
    until: Span = 0.0
    probe_s: int = 0
    expose: bool = False
    grace_s: int = 30
    network: Literal["awsvpc", "bridge", "host", "none"] = "bridge"
    capacity: Literal["ec2", "fargate"] = "ec2"
    strategy: Literal["spread", "binpack", "random"] = "spread"
    surge: str | int = "25%"
    unavailable: str | int = "25%"
    labels: dict[str, str] = {}
    node_labels: dict[str, str] = {}  # of the nodes that a Deployment's or Job's pods select
    region: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _require(0 <= self.replicas <= MAX_REPLICAS, f"replicas is 0 to {MAX_REPLICAS:,}")
        _require(self.copies >= 1, "copies is at least 1")
        for span in (self.at, self.every, self.until):
            seconds(span)
        runs_once = self.kind in ("job", "task")
        _require(not seconds(self.every) or runs_once, "every is for jobs and tasks")
        _require(not self.expose or self.kind == "deployment", "expose is for deployments")

    @property
    def names(self) -> tuple[str, ...]:
        """One for each copy."""
        if self.copies == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.copies + 1))

    @property
    def is_kube(self) -> bool:
        return self.kind in ("deployment", "job")

    @property
    def lasts(self) -> bool:
        """Whether replicas that end are replaced."""
        return self.kind in ("deployment", "service")


class ChangePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A deployment of a new image, or another number of replicas, at an instant; with ``spread``
    the copies change one after the other over that span."""

    at: Span
    workload: str
    image: str = ""
    replicas: int | None = None
    spread: Span = 0.0
    region: str = ""

    def __post_init__(self) -> None:
        seconds(self.at), seconds(self.spread)
        _require(bool(self.image) != (self.replicas is not None), "give image or replicas")


class Churn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Replicas that are replaced: this share of all, every hour. ``rollouts`` of them by deploying
    their Deployment or service anew, the rest because somebody deletes or stops them one by one."""

    share_per_hour: float
    rollouts: float = 0.0
    begin: Span = 0.0
    end: Span = 0.0

    def __post_init__(self) -> None:
        _require(0 <= self.share_per_hour <= 100, "share_per_hour is 0 to 100")
        _require(0 <= self.rollouts <= 1, "rollouts is a share, 0 to 1")
        seconds(self.begin), seconds(self.end)


class FaultPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fault at an instant of a span, ``times`` over; who is hit is drawn unless given."""

    fault: str
    between: tuple[Span, Span]
    times: int = 1
    given: dict[str, Any] = {}
    region: str = ""

    def __post_init__(self) -> None:
        begin, end = (seconds(span) for span in self.between)
        _require(begin <= end, "between is [earliest, latest]")
        _require(self.times >= 1, "times is at least 1")


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often the crowd is looked at, and how often the packing of every host."""

    every: Span = 60.0
    packing_every: Span = 1800.0

    def __post_init__(self) -> None:
        _require(seconds(self.every) > 0, "every is above 0")
        _require(seconds(self.packing_every) > 0, "packing_every is above 0")


class AgentsPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``events``: whether the agents tell users of each step (Pulled, Created, Started …), or
    report statuses only. ``report_every``: how long an agent gathers news before it reports them
    (the kubelet looks at its containers once a second)."""

    events: bool = True
    report_every: Span = 0.25

    def __post_init__(self) -> None:
        _require(seconds(self.report_every) > 0, "report_every is above 0")


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file. ``lasts`` is how much time is played. Each of ``regions`` has hosts, clusters
    and a control plane of its own, as at AWS; without any there is one, the usual."""

    name: str = ""
    lasts: Span
    regions: tuple[str, ...] = (HOME,)
    hosts: tuple[HostsPart, ...]
    workloads: tuple[Workload, ...]
    images: dict[str, Manner] = {}
    curves: dict[str, Curve] = {}
    changes: tuple[ChangePart, ...] = ()
    churn: Churn | None = None
    faults: tuple[FaultPart, ...] = ()
    measure: Measure = Measure()
    agents: AgentsPart = AgentsPart()

    def __post_init__(self) -> None:
        _require(seconds(self.lasts) > 0, "lasts is above 0")
        for manner in self.images.values():
            for curve in (manner.cpu, manner.memory):
                known = not isinstance(curve, str) or curve in self.curves or curve == "steady"
                _require(known, f"there is no load curve {curve!r}")
        self._check_regions()
        for region in self.regions:
            self._check_region(region)

    def _check_regions(self) -> None:
        _require(bool(self.regions), "there is some region")
        _require(len(set(self.regions)) == len(self.regions), "two regions have one name")
        for region in self.regions:
            _require(bool(_REGION.fullmatch(region)), f"{region!r} is no region, as us-east-1 is")
        for part in (self.hosts, self.workloads, self.changes, self.faults):
            for region in (one.region for one in part):
                known = not region or region in self.regions
                _require(known, f"there is no region {region!r} among regions")

    def _check_region(self, region: str) -> None:
        names = [name for workload in _of(self.workloads, region) for name in workload.names]
        _require(len(set(names)) == len(names), "two workloads have one name")
        whole = {workload.name for workload in _of(self.workloads, region)}
        for change in _of(self.changes, region):
            _require(change.workload in whole, f"there is no workload {change.workload!r}")
        if len(self.regions) > 1:  # a plan of one may call its zones what it likes
            for zone in (zone for part in _of(self.hosts, region) for zone in part.zones):
                inside = _zone(region, zone).startswith(region)
                _require(inside, f"zone {zone!r} is not in region {region}")

    def of(self, region: str) -> Plan:
        """What is played in one region: a plan without the others."""
        hosts = tuple(
            replace(part, zones=tuple(_zone(region, zone) for zone in part.zones))
            for part in _of(self.hosts, region)
        )
        return replace(
            self,
            regions=(region,),
            hosts=hosts,
            workloads=_of(self.workloads, region),
            changes=_of(self.changes, region),
            faults=_of(self.faults, region),
        )


P = TypeVar("P", HostsPart, Workload, ChangePart, FaultPart)


def _of(parts: tuple[P, ...], region: str) -> tuple[P, ...]:
    return tuple(part for part in parts if part.region in ("", region))


def _zone(region: str, zone: str) -> str:
    """A zone's whole name, where its letter may stand for it."""
    return region + zone if len(zone) == 1 else zone


def read_plan(text: str, name: str) -> Plan:
    """A file's content. Raises CallerFault that names the place and what is wrong there."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CallerFault(f"{name}: no YAML: {error}") from error
    if not isinstance(content, dict):
        raise CallerFault(f"{name}: a scenario is a mapping")
    try:
        return msgspec.convert({"name": name, **content}, Plan)
    except msgspec.ValidationError as error:
        raise CallerFault(f"{name}: {error}") from error


def load_plan(path: Path) -> Plan:
    """Read a scenario's file; see ``read_plan``."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerFault(f"{path}: {error}") from error
    return read_plan(text, path.stem)
