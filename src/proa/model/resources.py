"""Amounts of compute: what a Sandbox reserves, what an Instance and a Pool hold."""

from __future__ import annotations

import msgspec


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """CPU in 1/128,000 vCPU, memory and disk in bytes; ``sandboxes`` counts pods and tasks."""

    cpu: int = 0
    memory: int = 0
    disk: int = 0
    sandboxes: int = 0

    def plus(self, other: Resources) -> Resources:
        return Resources(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.disk + other.disk,
            self.sandboxes + other.sandboxes,
        )

    def minus(self, other: Resources) -> Resources:
        return Resources(
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.disk - other.disk,
            self.sandboxes - other.sandboxes,
        )

    def covers(self, ask: Resources) -> bool:
        """Whether ``ask`` fits; what is not asked for may be overdrawn."""
        return (
            (ask.cpu == 0 or ask.cpu <= self.cpu)
            and (ask.memory == 0 or ask.memory <= self.memory)
            and (ask.disk == 0 or ask.disk <= self.disk)
            and (ask.sandboxes == 0 or ask.sandboxes <= self.sandboxes)
        )


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port taken on an Instance: the same number may serve both protocols."""

    number: int
    protocol: str = "tcp"
    address: str = ""
