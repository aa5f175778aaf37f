"""DescribeClusterVersions: the versions that a cluster may have."""

from __future__ import annotations

from proa.aws.eks.desk import Eks, page
from proa.aws.eks.errors import invalid
from proa.aws.eks.versions import DEFAULT_VERSION, VERSIONS, Version
from proa.aws.gateway.service import Context, Input, Output

STANDARD = 3  # the newest versions are in standard support, all older ones in extended


async def describe_cluster_versions(eks: Eks, context: Context, given: Input) -> Output:
    """Versions with their support, newest last."""
    wanted = given.get("clusterVersions") or list(VERSIONS)
    unknown = [name for name in wanted if name not in VERSIONS]
    if unknown:
        raise invalid(f"unsupported Kubernetes version {unknown[0]}")
    support = given.get("versionStatus") or (given.get("status") or "").upper().replace("-", "_")
    chosen = [
        name
        for name in sorted(wanted)
        if not (given.get("defaultOnly") and name != DEFAULT_VERSION)
        and (not support or support == _support(name))
    ]
    listed, more = page(chosen, given)
    return {"clusterVersions": [_shown(VERSIONS[name]) for name in listed], **more}


def _support(version: str) -> str:
    newest = list(VERSIONS)[-STANDARD:]
    return "STANDARD_SUPPORT" if version in newest else "EXTENDED_SUPPORT"


def _shown(version: Version) -> Output:
    support = _support(version.name)
    return {
        "clusterVersion": version.name,
        "clusterType": "eks",
        "defaultPlatformVersion": version.platform,
        "defaultVersion": version.name == DEFAULT_VERSION,
        "status": support.lower().replace("_", "-"),
        "versionStatus": support,
        "kubernetesPatchVersion": version.patch,
    }
