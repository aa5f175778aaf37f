"""What the kernel lets this process do; read when containerd is configured and used."""

from __future__ import annotations

from pathlib import Path

_CAP_SYS_RESOURCE = 24


def holds_sys_resource() -> bool:
    """Whether this process holds CAP_SYS_RESOURCE, which raising a hard limit and lowering
    oom_score_adj need; a Proa that itself runs in a container may lack it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False
