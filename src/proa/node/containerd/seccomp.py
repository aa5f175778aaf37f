"""The runtime's own seccomp profile in a form that starts containers sooner.

containerd's profile names three ABIs of an x86 processor. For the third, x32, which no
distribution ships and few kernels speak, libseccomp compiles a filter that takes longer than all
the rest of a container's start (runc 1.1: 25 ms of 60). ``ContainerdRuntime`` asks ``path`` before
it creates a container; the first one with a set of capabilities gets the runtime's profile, which
``learn`` then writes to a file without x32, and later ones get that. A call by that ABI is killed,
where the runtime's own would look it up.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from proa.model.sandbox import Container

_X32 = "SCMP_ARCH_X32"


class RuntimeProfiles:
    """Profiles learned by one agent, below ``folder``; a new agent, which may find another
    containerd, learns anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Path] = {}

    def path(self, container: Container) -> Path | None:
        """The file to use instead of the runtime's own profile; None while it is not known."""
        return self._known.get(_key(container))

    def wanted(self, container: Container) -> bool:
        """Whether the profile that the runtime gives this container is still to be learned."""
        plain = not container.privileged and not container.seccomp
        return plain and _key(container) not in self._known

    def learn(self, container: Container, spec: dict[str, Any]) -> None:
        """Take the profile out of the OCI spec that the runtime made. Raises OSError."""
        profile = spec["linux"].get("seccomp")
        if not profile:
            return
        kept = [name for name in profile.get("architectures") or [] if name != _X32]
        text = json.dumps({**profile, "architectures": kept})
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{_key(container)}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.rename(path)
        self._known[_key(container)] = path


def _key(container: Container) -> str:
    """The profile depends on the capabilities alone."""
    names = [sorted(container.add_capabilities), sorted(container.drop_capabilities)]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
