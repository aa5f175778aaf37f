"""The four ways to run a workload: API, capacity, rents, and how often capacity is looked at.

``trial`` asks here for what differs between them; the rest of a trial is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proa.aws.ecs.fargate import SIZES
from proa.base.errors import CallerFault
from proa.cost.meter import Rent
from proa.cost.prices import ON_DEMAND, Prices
from proa.model.resources import Resources
from proa.sim.compare.question import Question, ServicePart, Way
from proa.sim.crowd_behaviour import Amount, Manner, Spread
from proa.sim.plan import CPU_UNITS, MIB, Workload

UNITS = 1024  # ECS CPU units in a vCPU
ECS_LOOK_S = 60.0  # managed scaling follows a metric of one-minute periods
KUBE_LOOK_S = 10.0  # just-in-time nodes answer within their batching window
START_S = 0.5  # of a container on a machine that has its image
TITLES: Mapping[Way, str] = {
    "ecs-fargate": "ECS on Fargate",
    "ecs-ec2": "ECS on EC2",
    "eks-nodes": "Kubernetes on nodes",
    "eks-fargate": "Kubernetes on Fargate",
}


@dataclass(slots=True, frozen=True)
class Rates:
    """Rents at one way of purchase. A way of purchase that a service does not know counts as
    On-Demand there."""

    prices: Prices
    purchase: str = ON_DEMAND
    arm: bool = False

    def _factor(self, service: str) -> float:
        known = self.purchase in self.prices.discounts[service]
        return self.prices.factor(service, self.purchase if known else ON_DEMAND)

    def fargate(self, vcpus: float, memory_mib: int) -> Rent:
        """A task's or pod's own machine."""
        hour = self.prices.fargate_hour(vcpus, memory_mib / 1024, self.arm)
        return Rent("fargate", hour * self._factor("fargate"), self.prices.fargate.minimum_s)

    def node(self, instance_type: str) -> Rent:
        """A machine of a type."""
        hour = self.prices.ec2_hour(instance_type) * self._factor("ec2")
        return Rent(f"ec2 {instance_type}", hour, self.prices.ec2.minimum_s)

    def control_plane(self, way: Way) -> Rent | None:
        """The cluster itself, where it costs anything."""
        hour = self.prices.control_plane_hour["ecs" if way.startswith("ecs") else "eks"]
        return Rent("control plane", hour) if hour else None


def fargate_shape(vcpu: float, memory_mib: int, overhead_mib: int = 0) -> tuple[float, int]:
    """(vCPU, MiB) of the smallest size Fargate offers for an ask. Raises CallerFault where there
    is none."""
    needed = memory_mib + overhead_mib
    for units in sorted(SIZES):
        fitting = [size for size in SIZES[units] if size >= needed]
        if units >= vcpu * UNITS and fitting:
            return units / UNITS, min(fitting)
    raise CallerFault(f"Fargate has no size for {vcpu:g} vCPU and {needed} MiB")


def shapes_of(question: Question, way: Way) -> dict[str, tuple[float, int]]:
    """What each replica of each service asks of its capacity: Fargate's sizes where it is that."""
    overhead_mib = question.fargate.pod_overhead_mib if way == "eks-fargate" else 0
    shapes = {}
    for service in question.services:
        shape = (service.vcpu, service.memory_mib)
        if way.endswith("fargate"):
            shape = fargate_shape(*shape, overhead_mib)
        shapes.update(dict.fromkeys(service.names, shape))
    return shapes


def sizes_of(question: Question) -> dict[str, Resources]:
    """What a replica of each service reserves on a node."""
    return {
        name: Resources(round(service.vcpu * CPU_UNITS), service.memory_mib * MIB)
        for service in question.services
        for name in service.names
    }


def workload_for(question: Question, service: ServicePart, way: Way, replicas: int) -> Workload:
    """A service in the words of the API that a way has."""
    vcpu, memory_mib = service.vcpu, service.memory_mib
    on_fargate = way == "ecs-fargate"
    if on_fargate:
        vcpu, memory_mib = fargate_shape(vcpu, memory_mib)
    return Workload(
        name=service.name,
        kind="service" if way.startswith("ecs") else "deployment",
        replicas=replicas,
        copies=service.copies,
        image=f"{service.name}:1",
        vcpu=vcpu,
        memory_mib=memory_mib,
        capacity="fargate" if on_fargate else "ec2",
        network="awsvpc" if on_fargate else "bridge",
        strategy="binpack",
    )


def manners_for(question: Question, way: Way) -> dict[str, Manner]:
    """How images behave. An ECS task on Fargate waits for its machine and its image together."""
    manners = {}
    for service in question.services:
        pull: Amount = service.image_s
        start: Amount = START_S
        if way == "ecs-fargate":
            pull, start = 0.0, together(question.fargate.start_s, service.image_s)
        manners[f"{service.name}:*"] = Manner(pull_s=pull, start_s=start, ready_s=service.ready_s)
    return manners


def together(first: Amount, second: Amount) -> Spread:
    """The spread of one after the other: medians and 95th percentiles added up, which is a little
    more than the truth in the tail."""
    (low, high), (more, most) = _ranks(first), _ranks(second)
    return Spread(lognormal=(low + more, high + most))


def _ranks(amount: Amount) -> tuple[float, float]:
    """Median and 95th percentile."""
    if isinstance(amount, (int, float)):
        return max(amount, 1e-3), max(amount, 1e-3)
    if amount.lognormal is not None:
        return amount.lognormal
    if amount.uniform is not None:
        low, high = amount.uniform
        return low + 0.5 * (high - low), low + 0.95 * (high - low)
    assert amount.exponential is not None, "one of the three is given"
    return amount.exponential * 0.6931, amount.exponential * 2.9957
