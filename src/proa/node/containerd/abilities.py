"""What this machine lacks of what a container asks for, left out with a word about it.

Read once by ``ContainerdRuntime``. Swap limits need the kernel's swap accounting (cgroup v1:
``swapaccount=1``; v2 has it unless it was compiled out); limits of processes above the machine's
own need CAP_SYS_RESOURCE, which a Proa that itself runs in a container may lack.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from proa.model.sandbox import Container, Ulimit
from proa.node.containerd import cgroups
from proa.node.rights import holds_sys_resource


def _hard_limits() -> dict[str, int]:
    """This process's hard limits by their names without RLIMIT_, in lower case; -1: none."""
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        name.removeprefix("RLIMIT_").lower(): resource.getrlimit(getattr(resource, name))[1]
        for name in names
    }


@dataclass(slots=True, frozen=True)
class Abilities:
    """``limits`` are upper bounds for hard limits; empty where any may be set."""

    swap: bool = True
    swappiness: bool = True
    limits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_this_machine(cls, root: Path = cgroups.ROOT) -> Abilities:
        """As the kernel and this process's rights have it."""
        return cls(
            swap=cgroups.accounts_swap(root),
            swappiness=not cgroups.is_unified(root),
            limits={} if holds_sys_resource() else _hard_limits(),
        )

    def adapt(self, container: Container) -> tuple[Container, tuple[str, ...]]:
        """See ``Runtime.adapt``."""
        changes: dict[str, object] = {}
        notes: list[str] = []
        if container.swap_limit is not None and not self.swap:
            changes["swap_limit"] = None
            notes.append("the kernel does not account for swap: its limit is ignored")
        if container.swappiness is not None and not (self.swap and self.swappiness):
            changes["swappiness"] = None
            notes.append("the kernel has no swappiness for control groups: it is ignored")
        limits = tuple(self._bounded(limit, notes) for limit in container.ulimits)
        if limits != container.ulimits:
            changes["ulimits"] = limits
        return msgspec.structs.replace(container, **changes), tuple(notes)

    def _bounded(self, limit: Ulimit, notes: list[str]) -> Ulimit:
        bound = self.limits.get(limit.name, -1)
        if bound < 0 or 0 <= limit.hard <= bound:
            return limit
        notes.append(f"ulimit {limit.name}: {limit.hard} is more than this machine's {bound}")
        soft = bound if limit.soft < 0 else min(limit.soft, bound)
        return Ulimit(limit.name, soft, bound)
