"""Rates of compute from one dated file with its sources, ``prices.json``.

Read by ``cost.meter`` and by whoever shows where a figure comes from. Rates are those of one
region and currency; a file of the same form, given by the user, takes its place. Discounts are
fractions off the On-Demand rate: those of Spot are typical ones, since Spot prices move.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from proa.base.errors import CallerFault

GIB = 1024**3
ON_DEMAND = "on-demand"


class FargateRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Per hour of one vCPU and of one GiB of memory."""

    vcpu_hour: float
    gb_hour: float


class FargatePrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates by architecture. Storage beyond what is included costs by the GiB and hour; what runs
    for less than ``minimum_s`` is charged for that long."""

    x86_64: FargateRate
    arm64: FargateRate
    storage_gb_hour: float
    storage_included_gb: int
    minimum_s: float


class Ec2Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On-Demand Linux rates per hour by instance type."""

    minimum_s: float
    on_demand_hour: dict[str, float]


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price file. ``discounts`` by service ("fargate", "ec2") and way of purchase;
    ``control_plane_hour`` by "ecs", "eks" and "eks-extended"."""

    date: str
    region: str
    currency: str
    sources: tuple[str, ...]
    fargate: FargatePrices
    ec2: Ec2Prices
    discounts: dict[str, dict[str, float]]
    control_plane_hour: dict[str, float]

    def factor(self, service: str, purchase: str) -> float:
        """What remains of an On-Demand rate of "fargate" or "ec2" when bought in a way, as
        "spot" or "savings-1y". Raises CallerFault for a way that the file does not name."""
        ways = self.discounts[service]
        if purchase not in ways:
            known = ", ".join(sorted(ways))
            raise CallerFault(f"{purchase!r} is no way to buy {service}; known are {known}")
        return 1.0 - ways[purchase]

    def fargate_hour(
        self, vcpus: float, memory_gib: float, arm: bool = False, storage_gib: float = 0.0
    ) -> float:
        """On-Demand rate of a task or pod of that size."""
        rate = self.fargate.arm64 if arm else self.fargate.x86_64
        extra_gib = max(0.0, storage_gib - self.fargate.storage_included_gb)
        storage = extra_gib * self.fargate.storage_gb_hour
        return vcpus * rate.vcpu_hour + memory_gib * rate.gb_hour + storage

    def ec2_hour(self, instance_type: str) -> float:
        """On-Demand rate of an instance. Raises CallerFault for a type without a price."""
        rate = self.ec2.on_demand_hour.get(instance_type)
        if rate is None:
            raise CallerFault(f"no price for instance type {instance_type!r} in {self.region}")
        return rate


def load(path: Path | None = None) -> Prices:
    """The shipped prices, or those of a file. Raises CallerFault for a file of another form."""
    source = path or resources.files("proa.cost") / "prices.json"
    try:
        prices = msgspec.json.decode(source.read_bytes(), type=Prices)
    except (msgspec.DecodeError, OSError) as error:
        raise CallerFault(f"prices cannot be read from {source}: {error}") from error
    for service, ways in prices.discounts.items():
        wrong = [way for way, discount in ways.items() if not 0.0 <= discount < 1.0]
        if wrong or service not in ("fargate", "ec2"):
            raise CallerFault(f"{source}: discounts of {service} are no fractions: {wrong}")
    return prices
