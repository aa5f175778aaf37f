"""EC2's instance types as a table of facts, in ``instance_types.json``.

Used where a type's size matters: EC2's catalogue, and whoever cuts Instances of a type from a
Host. Sizes and interface limits are those of the EC2 instance type guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec


class InstanceType(msgspec.Struct, frozen=True, array_like=True):
    """One type. ``addresses`` are the IPv4 addresses of one of its ``interfaces``."""

    name: str
    vcpus: int
    memory_mib: int
    interfaces: int
    addresses: int
    architecture: str  # "x86_64" or "arm64"

    @property
    def burstable(self) -> bool:
        """Whether it runs on CPU credits (the T families)."""
        return self.name.startswith("t")


@cache
def instance_types() -> Mapping[str, InstanceType]:
    """Every known type by its name, in the order of names."""
    file = resources.files("proa.cloud") / "instance_types.json"
    listed = msgspec.json.decode(file.read_bytes(), type=list[InstanceType])
    return {one.name: one for one in sorted(listed, key=lambda one: one.name)}
