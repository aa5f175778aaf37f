"""The Kubernetes versions that a cluster may have, as EKS' release calendar tells them.

All of them serve the definitions of one version (docs/limits.md); what differs is what the
cluster says of itself. ``patch_of`` is what its ``/version`` and its nodes answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_VERSION = "1.36"


@dataclass(slots=True, frozen=True)
class Version:
    """One minor version: the patch that stands for it, and EKS' platform version."""

    name: str
    patch: str
    platform: str


_ALL = (
    Version("1.30", "1.30.14", "eks.52"),
    Version("1.31", "1.31.13", "eks.48"),
    Version("1.32", "1.32.9", "eks.41"),
    Version("1.33", "1.33.8", "eks.34"),
    Version("1.34", "1.34.4", "eks.23"),
    Version("1.35", "1.35.2", "eks.12"),
    Version("1.36", "1.36.2", "eks.3"),
)
VERSIONS: Mapping[str, Version] = {version.name: version for version in _ALL}


def patch_of(version: str) -> str:
    """The full version of a minor one ("1.36" is "1.36.2")."""
    return VERSIONS[version].patch


def follows(version: str, wanted: str) -> bool:
    """Whether ``wanted`` is the minor version right after ``version``: EKS upgrades one at a
    time and never back."""
    names = list(VERSIONS)
    return wanted in names and names.index(wanted) == names.index(version) + 1
