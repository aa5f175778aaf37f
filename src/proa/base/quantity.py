"""Quantities: CPU in 1/128,000 of a vCPU, memory in bytes, both exact integers.

1 ECS CPU unit is 1/1024 vCPU = 125 of ours; 1 Kubernetes millicore is 1/1000 vCPU = 128 of
ours, so both add up without rounding. The text format is Kubernetes' resource.Quantity.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

CPU_PER_VCPU = 128_000
CPU_PER_ECS_UNIT = CPU_PER_VCPU // 1024
CPU_PER_MILLICORE = CPU_PER_VCPU // 1000
MIB = 1024 * 1024

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(
    r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$"
)


def parse_quantity(text: str | int | float) -> Decimal:
    """The value of a Kubernetes quantity in its base unit; raises ValueError."""
    match = _QUANTITY.match(str(text))
    if match is None:
        raise ValueError(f"quantities must match the regular expression: {text!r}")
    number, exponent, suffix = match.groups()
    value = Decimal(number + (exponent or ""))
    return value * _SUFFIXES[suffix or ""]


def cpu_of(text: str | int | float) -> int:
    """A Kubernetes CPU quantity ("250m", "2") in 1/128,000 vCPU, rounded up to a millicore."""
    millicores = (parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING)
    return int(millicores) * CPU_PER_MILLICORE


def bytes_of(text: str | int | float) -> int:
    """A Kubernetes memory quantity ("512Mi") in bytes, rounded up."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


def millicores_text(cpu: int) -> str:
    """CPU as Kubernetes prints it: whole cores, or millicores."""
    if cpu % CPU_PER_VCPU == 0:
        return str(cpu // CPU_PER_VCPU)
    return f"{cpu // CPU_PER_MILLICORE}m"


def bytes_text(size: int) -> str:
    """Memory as Kubernetes prints it, in the largest exact binary unit."""
    for suffix, unit in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
