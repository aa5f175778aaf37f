"""Fargate's task sizes and platform rules, as data.

Source: "Task size" of the Amazon ECS developer guide, and RegisterTaskDefinition in the service
model. Called by the task definition rules and by placement asks.
"""

from __future__ import annotations

import re

PLATFORM_VERSION = "1.4.0"
PLATFORM_VERSIONS = ("LATEST", "1.4.0", "1.3.0")
PLATFORM_FAMILY = "Linux"
STORAGE_GIB = 20  # of a task that does not ask for more
LOG_DRIVERS = ("awslogs", "splunk", "awsfirelens")
CAPACITY_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different "
    "availability zone"
)
NO_CONFIGURATION = "No Fargate configuration exists for given values."


def _gigabytes(low: int, high: int, step: int) -> frozenset[int]:
    return frozenset(range(low * 1024, high * 1024 + 1, step * 1024))


# CPU units → memory sizes in MiB.
SIZES: dict[int, frozenset[int]] = {
    256: frozenset((512, 1024, 2048)),
    512: _gigabytes(1, 4, 1),
    1024: _gigabytes(2, 8, 1),
    2048: _gigabytes(4, 16, 1),
    4096: _gigabytes(8, 30, 1),
    8192: _gigabytes(16, 60, 4),
    16384: _gigabytes(32, 120, 8),
    32768: frozenset((60 * 1024, 120 * 1024, 244 * 1024)),
}

_VCPU = re.compile(r"^\s*(\d+(?:\.\d+)?|\.\d+)\s*vcpu\s*$", re.IGNORECASE)
_GB = re.compile(r"^\s*(\d+(?:\.\d+)?|\.\d+)\s*gb\s*$", re.IGNORECASE)


def cpu_units(text: str) -> int:
    """CPU units of "256", ".25 vCPU" or "1 vcpu"; raises ValueError."""
    match = _VCPU.match(text)
    return int(float(match.group(1)) * 1024) if match else _whole(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]+\s*", text):
        raise ValueError(f"not a whole number: {text}")
    return int(text)


def memory_mib(text: str) -> int:
    """MiB of "512", "0.5GB" or "1 GB"; raises ValueError."""
    match = _GB.match(text)
    return int(float(match.group(1)) * 1024) if match else _whole(text)


def is_size(cpu: int, memory: int) -> bool:
    """Whether Fargate offers this pair of CPU units and MiB."""
    return memory in SIZES.get(cpu, frozenset())
